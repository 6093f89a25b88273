"""Seeding of random number generators."""

from __future__ import annotations

import contextlib
import random

import numpy as np
import torch


def derive_seed(*parts: int) -> int:
    """A 32-bit seed from non-negative integers."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def seed_numpy_and_python(*key: int) -> int:
    """Seed numpy and Python by non-negative integers; returns a seed for torch."""
    # different ones, since numpy and torch would draw the same bits from one
    seeds = np.random.SeedSequence(key).generate_state(3).tolist()
    random.seed(seeds[0])
    np.random.seed(seeds[1])
    return seeds[2]


@contextlib.contextmanager
def seeded(seed: int | None, device: str | torch.device = 'cpu'):
    """Seed Python, numpy and torch within a block, and restore their states after it.

    Args:
        seed: 32 bits; None does nothing.
        device: A device whose generator is seeded beside the CPU's.
    """
    if seed is None:
        yield
        return
    before = random.getstate(), np.random.get_state()
    on_gpu = torch.device(device).type == 'cuda'
    with torch.random.fork_rng([device] if on_gpu else []):
        seed = seed_numpy_and_python(seed)
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])
