"""Settings of the whole test run."""

import os

os.environ['OMP_NUM_THREADS'] = '1'  # some tests fork, and a pool of threads does not survive that
os.environ['MMOVSAM_CACHE'] = 'off'  # a test that wants it names a folder of its own

import pytest
import torch
from hypothesis import settings

import mmovsam  # noqa: F401  first: it mends torchvision where that is broken

# isort: split
from mmengine.registry import DefaultScope, init_default_scope
from skips import pytest_sessionfinish, pytest_terminal_summary  # noqa: F401  hooks

# no time limits: machines differ; a failing example is printed with what reproduces it
settings.register_profile('mmovsam', deadline=None, print_blob=True, max_examples=30)
settings.load_profile('mmovsam')


init_default_scope('mmdet')


@pytest.fixture(autouse=True)
def same_start():
    """Every test starts from the same random state and in MMDetection's registries."""
    torch.manual_seed(0)
    if DefaultScope.get_current_instance().scope_name != 'mmdet':
        init_default_scope('mmdet')
