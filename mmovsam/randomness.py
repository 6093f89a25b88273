"""Random numbers that belong to a sample, whichever process and worker draws them."""

from __future__ import annotations

import contextlib
import random

import numpy as np
import torch


def derive_seed(*parts: int) -> int:
    """A 32-bit seed, another one for all other parts.

    Args:
        *parts: Integers that are not negative.
    """
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def seed_numpy_and_python(*key: int) -> int:
    """Seed the generators of numpy and Python by a key.

    Args:
        *key: Integers that are not negative.

    Returns:
        A seed for the generator of torch.
    """
    # of three seeds, for numpy and torch would draw the same bits from one
    seeds = np.random.SeedSequence(key).generate_state(3).tolist()
    random.seed(seeds[0])
    np.random.seed(seeds[1])
    return seeds[2]


@contextlib.contextmanager
def seeded(seed: int | None, device: str | torch.device = 'cpu'):
    """Seed the generators of Python, numpy and torch in a block; after it they are as before.

    Args:
        seed: 32 bits; None leaves the generators alone.
        device: Whose numbers are drawn in the block beside the CPU's.
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
            with torch.cuda.device(device):  # not whichever is the current one
                torch.cuda.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])
