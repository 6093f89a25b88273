"""Commands of `dev` from end to end, on the small world."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow  # `test_loops.py` has the same without kills
def test_killed_trainings_end_like_unbroken_ones():
    """In a process of its own: it forks trainings, and MMEngine's visualizer is one a process."""
    env, command = {**os.environ, 'PYTHONPATH': str(ROOT)}, [sys.executable, 'dev/check_resume.py']
    command += ['--kills', '3', '--stages', 'sam2clip_mini', '--seed', '3']
    run = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert re.search(r'\n3 of 3 identical; [123] were killed in a save, ', run.stdout)
    assert run.stdout.count(', resumed from ') == 3 and ' in a save, ' in run.stdout


@pytest.mark.slow
def test_two_users_are_answered_as_each_is_alone(run_tool):
    pytest.importorskip('fastapi', reason="no FastAPI: pip install 'mmovsam[test]'")
    arguments = ('--users', 2, '--seconds', 5, '--think', 0.01)
    status, out, err = run_tool('load_server.py', *arguments)
    assert not status and 'answers unlike those alone, or none: 0' in out, err
    assert '/prompt' in out and 'MB at the start' in out


def test_found_objects_are_all_counted_and_most_are_right(run_tool, tmp_path):
    status, out, err = run_tool('evaluate_find.py', 'small-world', '--boxes', '--num-images', 2)
    assert status == 0, err
    objects, found, right, precision, recall, _ = map(
        float, re.search(r'^all +(.*)$', out, re.MULTILINE)[1].split()
    )
    assert 6 <= objects <= 20 and right <= min(found, objects)
    assert precision == pytest.approx(right / found, abs=1e-3) and precision > 0.7
    assert recall == pytest.approx(right / objects, abs=1e-3) and recall > 0.5
    rows = re.findall(r'^\w+ \w+ .*?(\d+) +(\d+) +(\d+) +[\d.]+ +\S+ +\S+$', out, re.MULTILINE)
    assert [sum(map(int, column)) for column in zip(*rows)] == [objects, found, right]
    assert '2 images' in out and 'absent name' in out
    status, _, err = run_tool('evaluate_find.py', 'photos', '--root', tmp_path)
    assert status == 2 and f'{tmp_path}/coco_val has neither' in err
