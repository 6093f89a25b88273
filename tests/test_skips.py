"""A run of pytest that skips tests."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
SKIPPED = """
import pytest
def test_passes(): pass
def test_skipped(): pytest.skip('no Chromium: apt-get install chromium')
"""


@pytest.fixture(params=['0', '2'])  # in this process, and in two as `make test` does
def run(tmp_path, request):
    """Runs a file of two tests, one skipped: exit status and closing lines."""

    def run(name, **variables):
        (tmp_path / name).write_text(SKIPPED)
        env = {key: value for key, value in os.environ.items() if key != 'CI'}
        env.update(variables, PYTHONPATH=str(TESTS))
        command = [sys.executable, '-m', 'pytest', '-q', '-p', 'skips', '-p', 'no:cacheprovider']
        command += ['-n', request.param]
        done = subprocess.run(
            [*command, name], cwd=tmp_path, env=env, capture_output=True, text=True
        )
        return done.returncode, done.stdout

    return run


def test_a_run_without_a_browser_says_in_a_line_how_to_get_one(run):
    status, output = run('test_browser.py')
    (line,) = [line for line in output.splitlines() if line.startswith('The page was not tested')]
    assert status == 0
    assert line.endswith('in a browser: no Chromium: apt-get install chromium')


def test_skipped_test_passes_at_home_and_fails_in_ci(run):
    status, output = run('test_other.py')
    assert status == 0 and 'Failed' not in output and 'browser' not in output
    status, output = run('test_other.py', CI='true')
    assert status == 1 and 'Failed: 1 skipped, and with CI set nothing may be' in output
