"""Random numbers that belong to a sample."""

import contextlib
import random

import numpy as np
import torch

from mmovsam.randomness import seeded


def drawn():
    return random.random(), np.random.rand(), torch.rand(1).item()


def test_a_block_draws_the_same_and_leaves_the_generators_as_they_were():
    with seeded(3):
        first = drawn()
    torch.manual_seed(1)
    with seeded(3):
        assert drawn() == first
    after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), after)


def test_the_gpu_that_is_asked_for_is_seeded_and_not_the_current_one(monkeypatch):
    current, seeds = [torch.device('cuda:0')], []

    @contextlib.contextmanager
    def on_device(device):
        current.append(device)
        yield
        current.pop()

    saved = []
    monkeypatch.setattr(torch.cuda, 'device', on_device)
    monkeypatch.setattr(torch.cuda, 'manual_seed', lambda seed: seeds.append(current[-1]))
    monkeypatch.setattr(
        torch.random, 'fork_rng', lambda devices: contextlib.nullcontext(saved.extend(devices))
    )
    with seeded(3, torch.device('cuda:1')):
        pass
    assert seeds == saved == [torch.device('cuda:1')]
