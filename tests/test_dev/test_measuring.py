"""Measurements, their table and their files."""

import json

import pytest
import torch
from benchmarks import Measured, measure, plot, starting, table, write_json


def test_work_and_twin_run_in_turn_to_warm_up_then_for_the_time_then_for_the_memory():
    done = []
    measure('w', 1, lambda: done.append('work'), lambda: done.append('plain'), pairs=2)
    assert done == ['work', 'plain'] * 4


def test_without_a_twin_there_is_no_ratio():
    row = measure('w', 1, lambda: None, pairs=1)
    assert row.plain_seconds is row.ratio is row.gflop_s is None


def test_arithmetic_is_the_twins():
    a = torch.randn(100, 200)
    row = measure('w', 1, lambda: None, lambda: a @ a.T, pairs=1)
    assert row.gflop == pytest.approx(2 * 100 * 200 * 100 / 1e9)
    assert row.gflop_s == pytest.approx(row.gflop / row.seconds)


def test_peak_memory_counts_what_is_let_go_again():
    row = measure('w', 1, lambda: torch.ones(50 * 2**20 // 4).sum(), pairs=1)
    if row.peak_mb is None:
        pytest.skip('only Linux tells the peak')
    assert 45 < row.peak_mb < 80


def test_peak_memory_counts_what_the_work_before_it_has_left_free():
    kept = []

    def work():
        parts = [torch.ones(2**14) for _ in range(800)]
        kept[:] = parts[-1:]  # behind all others: the library keeps what is free before it

    row = measure('w', 1, work, pairs=2)
    if row.peak_mb is None:
        pytest.skip('only Linux tells the peak')
    assert 45 < row.peak_mb < 80


ROWS = [
    Measured('boxes', 1, 0.5, 10.0, 1.5, 20.0, 3.0),
    Measured('boxes', 10, 4.0, None),
]


def test_table_has_a_line_for_each_measurement_and_leaves_out_what_is_unknown():
    lines = table(ROWS).splitlines()
    assert lines[2] == '| boxes | 1 | 0.5 | 1.5 | 3 | 6 | 10 | 20 |'
    assert lines[3] == '| boxes | 10 | 4 |  |  |  |  |  |'


def test_json_has_all_that_a_measurement_depends_on(tmp_path):
    write_json(tmp_path / 'a.json', ROWS, dict(threads=2))
    found = json.loads((tmp_path / 'a.json').read_text())
    assert found['threads'] == 2
    assert found['measured'][0]['ratio'] == 3 and found['measured'][1]['plain_seconds'] is None


def test_plot_is_a_picture_of_the_kind_that_its_name_says(tmp_path):
    plot(tmp_path / 'a.png', ROWS)
    assert (tmp_path / 'a.png').read_bytes()[1:4] == b'PNG'
    with pytest.raises(ValueError, match='xyz'):
        plot(tmp_path / 'a.xyz', ROWS)
    assert not (tmp_path / 'a.xyz').exists()


def test_start_is_measured_with_this_packages_own_share(monkeypatch):
    monkeypatch.setattr(starting, '_BUILD', "print('hello'), print('built', 1e-6)")  # in no time
    total, build, pytorch, own = starting.start('mini/ovsam_mini_boxes.py', 1)
    assert total.seconds > build.seconds == 1e-6
    assert pytorch.seconds > own.seconds > 0
    assert own.number > 100  # modules


def test_model_that_cannot_be_built_is_named_with_what_was_said(monkeypatch):
    monkeypatch.setattr(starting, '_BUILD', "raise SystemExit('no such file')")
    with pytest.raises(RuntimeError, match='(?s)missing.py.*no such file'):
        next(starting.start('missing.py', 1))
