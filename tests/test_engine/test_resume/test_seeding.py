"""What samples draw, and in which batches they come."""

import random

import numpy as np
import torch
from mmengine.dataset import DefaultSampler

from mmovsam.engine.resume import seeding
from mmovsam.engine.resume.seeding import SeededBatchSampler, seed_sample, seed_step


def draw():
    # as 32 bits of each
    return random.getrandbits(32), np.random.randint(2**32), int(torch.randint(2**32, ()))


def test_generators_steps_and_samples_draw_different_bits():
    seed_step(0, 3, 4)
    step = draw()
    seed_sample(0, 3, 4)
    assert len({*step, *draw()}) == 6


def draws(sampler):
    """What each sample draws, by its index."""
    return {index: draw() for batch in sampler for index in batch}


def test_sample_draws_the_same_wherever_it_is_loaded(monkeypatch):
    data = list(range(12))
    whole = draws(SeededBatchSampler(DefaultSampler(data, seed=1), 4))
    halves = {}
    for rank in (0, 1):
        monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda rank=rank: (rank, 2))
        monkeypatch.setattr(seeding, 'get_dist_info', lambda rank=rank: (rank, 2))
        halves.update(draws(SeededBatchSampler(DefaultSampler(data, seed=1), 2)))
    assert whole == halves and len(set(whole.values())) == 12
