"""dev/benchmark.py on the smallest models, in this process."""

import json

import pytest
import tiny
import torch
from benchmarks import Measured, measure, plot, table

CONFIG = f"""
default_scope = 'mmdet'
model = {tiny.OVSAM}
"""


@pytest.fixture
def run(tmp_path, monkeypatch, run_tool):
    """`run('encode')`: what one kind of work wrote as JSON."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'model.py').write_text(CONFIG)
    # the rates of a large product take seconds
    monkeypatch.setattr('benchmarks.machine_rates', lambda *_: dict(product=1.0))

    def run(line):
        arguments = f'{line} --config model.py --threads 1 --pairs 1 --out found.json'
        status, out, errors = run_tool('benchmark.py', *arguments.split())
        assert status == 0, errors
        found = json.loads((tmp_path / 'found.json').read_text())
        for row in found['measured']:
            assert f'| {row["name"]} | {row["number"]} |' in out
        return found

    return run


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_encoder_is_measured_beside_its_twin(run, dtype):
    (row,) = run(f'encode --dtype {dtype}')['measured']
    assert row['name'] == f'encode, {dtype}'
    assert row['ratio'] == pytest.approx(row['plain_seconds'] / row['seconds'])
    assert row['gflop'] > 0


def test_prompts_beyond_a_number_are_not_given_to_the_twin(run, tmp_path):
    found = run('prompts --numbers 2 5 --plain-up-to 2 --plot prompts.png')
    rows = found['measured']
    assert [(row['name'], row['number']) for row in rows] == [
        ('one click', 1),
        ('boxes', 2),
        ('boxes', 5),
    ]
    assert [row['plain_seconds'] is None for row in rows] == [False, False, True]
    assert (tmp_path / 'prompts.png').is_file()


def test_masks_are_encoded_and_found_equal(run):
    rows = run('masks --numbers 4 --plain-up-to 2 --size 80 60')['measured']
    assert [row['number'] for row in rows] == [2, 4]
    assert rows[0]['ratio'] > 0 and rows[1]['ratio'] is None


def test_exported_model_needs_its_folder(run_tool):
    status, _, errors = run_tool('benchmark.py', 'exported')
    assert status == 2 and '--export' in errors


# Measurements


def test_arithmetic_is_the_twins():
    a = torch.randn(100, 200)
    row = measure('w', 1, lambda: None, lambda: a @ a.T, pairs=1)
    assert row.gflop == pytest.approx(2 * 100 * 200 * 100 / 1e9)
    assert row.gflop_s == pytest.approx(row.gflop / row.seconds)


ROWS = [
    Measured('boxes', 1, 0.5, 10.0, 1.5, 20.0, 3.0),
    Measured('boxes', 10, 4.0, None),
]


def test_table_has_a_line_for_each_measurement_and_leaves_out_what_is_unknown():
    lines = table(ROWS).splitlines()
    assert lines[2] == '| boxes | 1 | 0.5 | 1.5 | 3 | 6 | 10 | 20 |'
    assert lines[3] == '| boxes | 10 | 4 |  |  |  |  |  |'


def test_plot_is_a_picture_of_the_kind_that_its_name_says(tmp_path):
    plot(tmp_path / 'a.png', ROWS)
    assert (tmp_path / 'a.png').read_bytes()[1:4] == b'PNG'
    with pytest.raises(ValueError, match='xyz'):
        plot(tmp_path / 'a.xyz', ROWS)
    assert not (tmp_path / 'a.xyz').exists()
