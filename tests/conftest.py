"""Settings of the whole test run, and tools run as commands in its process."""

import logging
import os
import runpy
import sys
from pathlib import Path

os.environ['OMP_NUM_THREADS'] = '1'  # some tests fork, and a pool of threads does not survive that
os.environ['MMOVSAM_CACHE'] = 'off'  # a test that wants it names a folder of its own

import pytest
import torch
from hypothesis import HealthCheck, settings

import mmovsam  # noqa: F401  first: it mends torchvision where that is broken

# isort: split
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope, init_default_scope
from mmengine.runner import runner
from skips import pytest_sessionfinish, pytest_terminal_summary  # noqa: F401  hooks

# no time limits: machines differ; a failing example is printed with what reproduces it
slow = [HealthCheck.too_slow]
settings.register_profile(
    'mmovsam', deadline=None, print_blob=True, max_examples=30, suppress_health_check=slow
)
settings.load_profile('mmovsam')


init_default_scope('mmdet')
# each runner asks compilers and packages for their versions, which takes seconds
runner.collect_env = dict

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def run_tool(monkeypatch, capsys):
    """`run_tool('test.py', 'config.py')`: exit status, output and errors. Also of `dev`."""

    def run(tool, *arguments):
        folder = 'dev' if (ROOT / 'dev' / tool).is_file() else 'tools'
        monkeypatch.setattr(sys, 'argv', [tool, *map(str, arguments)])
        # the logger of an earlier test still holds that test's captured output, closed by now
        monkeypatch.setattr(logging, 'raiseExceptions', False)
        status = 0
        try:
            runpy.run_path(str(ROOT / folder / tool), run_name='__main__')
        except SystemExit as stop:
            status = stop.code
        return (status, *capsys.readouterr())

    return run


@pytest.fixture
def logged(caplog):
    """What MMEngine's logger says, as `caplog` has it."""
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


@pytest.fixture(autouse=True)
def same_start():
    """Every test starts from the same random state, and all in MMDetection's registries."""
    torch.manual_seed(0)
    yield
    if DefaultScope.get_current_instance().scope_name != 'mmdet':
        init_default_scope('mmdet')
