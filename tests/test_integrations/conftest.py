"""Small stand-ins for packages that are too large for the tests, with the parts that are used."""

import importlib
import sys
from types import ModuleType

import pytest
import small_world


@pytest.fixture(scope='session')
def scene():
    """A scene of the small world with the names of its objects."""
    return small_world.scene(11)


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
