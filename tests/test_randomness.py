"""Random numbers that belong to a sample."""

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
