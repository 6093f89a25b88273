"""Small stand-ins for packages that are too large for the tests, with the parts that are used."""

import importlib
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from mini_world import CATEGORIES, draw_scene

SEED = 11


@pytest.fixture(scope='session')
def scene():
    """A scene of the small world with the names of its objects."""
    print(f'seed {SEED}')
    drawn = draw_scene(np.random.default_rng([SEED, 0]), 'test')
    names = [CATEGORIES[category - 1].name for category in drawn.category_ids]
    return SimpleNamespace(image=drawn.image, masks=drawn.masks.astype(bool), names=names)


@pytest.fixture
def module(monkeypatch):
    """`module('a.b', name=value, ...)`: a module of a package that need not be there."""

    def make(name, **content):
        made = ModuleType(name)
        vars(made).update(content)
        monkeypatch.setitem(sys.modules, name, made)
        parent, _, own = name.rpartition('.')
        if parent:
            setattr(sys.modules[parent], own, made)

    return make


@pytest.fixture
def fresh():
    """`fresh('cvat')`: a module of `mmovsam.integrations`, imported with what there is now."""
    loaded = []

    def load(name):
        loaded.append(f'mmovsam.integrations.{name}')
        sys.modules.pop(loaded[-1], None)
        return importlib.import_module(loaded[-1])

    yield load
    for name in loaded:
        sys.modules.pop(name, None)
