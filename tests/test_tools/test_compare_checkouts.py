"""A training step in two folders, taken in turn."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import tiny_training

TOOL = Path(__file__).resolve().parents[2] / 'tools' / 'compare_checkouts.py'


def test_both_checkouts_step_in_turn_and_tell_time_and_memory(tmp_path):
    tiny_training.write_files(tmp_path)
    config = tiny_training.config(tmp_path, tiny.DISTILLER, 4)
    config.custom_imports = dict(imports=['mmovsam'])
    for name in ('before', 'after'):
        (tmp_path / name).mkdir()
        config.dump(tmp_path / name / 'training.py')
    command = [sys.executable, TOOL, 'training.py', 'before', 'after', '--steps', '2']
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in ('before', 'after'):
        found = re.search(rf'{name}: (\S+) s, least (\S+), (\d+) MB at most, (\S+) MB', done.stdout)
        assert float(found[1]) >= float(found[2]) > 0 and float(found[4]) > 0
    assert re.search(r'\d\.\d\d times faster', done.stdout)


@pytest.mark.parametrize(
    ('folders', 'expected'),
    [(['.'], 'give two folders'), (['.', 'nowhere'], 'there is no training.py in')],
)
def test_missing_checkouts_are_errors_of_the_command_line(run_tool, folders, expected):
    status, _, errors = run_tool('compare_checkouts.py', 'training.py', *folders)
    assert status == 2 and expected in errors
