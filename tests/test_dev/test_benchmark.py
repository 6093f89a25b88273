"""dev/benchmark.py on the smallest models, in this process."""

import json

import pytest
import tiny
from benchmarks import Measured, table

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
    rows = run('prompts --numbers 2 5 --plain-up-to 2 --plot prompts.png')['measured']
    found = [(row['name'], row['number'], row['plain_seconds'] is None) for row in rows]
    assert found == [('one click', 1, False), ('boxes', 2, False), ('boxes', 5, True)]
    assert (tmp_path / 'prompts.png').read_bytes()[1:4] == b'PNG'


def test_masks_are_encoded_and_found_equal(run):
    rows = run('masks --numbers 4 --plain-up-to 2 --size 80 60')['measured']
    assert [row['number'] for row in rows] == [2, 4]
    assert rows[0]['ratio'] > 0 and rows[1]['ratio'] is None


def test_table_has_a_line_for_each_measurement_and_leaves_out_what_is_unknown():
    rows = [Measured('boxes', 1, 0.5, 10.0, 1.5, 20.0, 3.0), Measured('boxes', 10, 4.0, None)]
    lines = table(rows).splitlines()
    assert lines[2] == '| boxes | 1 | 0.5 | 1.5 | 3 | 6 | 10 | 20 |'
    assert lines[3] == '| boxes | 10 | 4 |  |  |  |  |  |'
