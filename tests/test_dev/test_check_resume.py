"""The tool that kills trainings, with a few of its kills."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[2] / 'dev' / 'check_resume.py'


@pytest.mark.slow  # `test_loops.py` has the same without kills
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
