"""Data sets are built without the collection of garbage that MMEngine begins with: it is slow."""

from types import SimpleNamespace

import pytest


@pytest.fixture(autouse=True)
def quick_builds(monkeypatch):
    monkeypatch.setattr(
        'mmengine.dataset.base_dataset.gc', SimpleNamespace(collect=lambda *_: None)
    )
