"""The tool that kills trainings, with a few of its kills."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

TOOL = Path(__file__).resolve().parents[2] / 'dev' / 'check_resume.py'


def test_killed_trainings_end_like_unbroken_ones():
    """In a process of its own: it forks trainings, and MMEngine's visualizer is one a process."""
    flags = ['--kills', '3', '--stages', 'sam2clip_mini', '--seed', '3']
    env = {**os.environ, 'PYTHONPATH': str(TOOL.parents[1])}
    run = subprocess.run(
        [sys.executable, str(TOOL), *flags], env=env, capture_output=True, text=True
    )
    out = run.stdout
    assert run.returncode == 0, out + run.stderr
    assert re.search(r'\n3 of 3 identical; [123] were killed in a save, ', out)
    assert out.count(', resumed from ') == 3 and ' in a save, ' in out


def save(folder, **changes):
    folder.mkdir()
    content = dict(
        state_dict={'a.weight': torch.ones(2), 'b': torch.zeros(1)},
        optimizer=dict(state={0: dict(step=torch.tensor(3.0))}, param_groups=[dict(lr=0.1)]),
        param_schedulers=[dict(last_step=3)],
    )
    torch.save({**content, **changes}, folder / 'last.pth')
    (folder / 'last_checkpoint').write_text(str(folder / 'last.pth'))
    return folder


@pytest.mark.parametrize(
    ('changes', 'name'),
    [
        ({}, ''),
        (
            dict(state_dict={'a.weight': torch.tensor([1, 1 + 1e-7]), 'b': torch.zeros(1)}),
            'state_dict.a.weight',
        ),
        (dict(state_dict={'a.weight': torch.ones(2)}), 'state_dict.b'),
        (dict(param_schedulers=[dict(last_step=4)]), 'param_schedulers.0.last_step'),
    ],
)
def test_first_difference_of_two_checkpoints_is_named(tmp_path, changes, name):
    difference = runpy.run_path(str(TOOL))['difference']
    assert difference(save(tmp_path / 'a'), save(tmp_path / 'b', **changes)) == name
