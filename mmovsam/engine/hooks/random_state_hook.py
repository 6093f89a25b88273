"""Randomness that a resumed training repeats exactly."""

import functools
import random

import numpy as np
import torch
from mmengine.dataset import worker_init_fn
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

_DATA, _MODEL = 1, 2  # what a seed is for


@HOOKS.register_module()
class RandomStateHook(Hook):
    """Make the randomness of training a function of the seed and of how far training is.

    A checkpoint of MMEngine does not hold the state of the random generators, so a resumed
    training draws other numbers than the uninterrupted one. With this hook the global generators
    of Python, numpy and torch are seeded anew where a checkpoint may have been: at the start of
    each epoch, data loading workers too (they are started anew each epoch, persistent ones
    included); in an iteration-based training at each iteration. Components that own a generator
    must take its seed from a global one in `forward` to take part.
    """

    def before_train(self, runner) -> None:
        """Let the batches of an iteration-based training depend on their number.

        Args:
            runner (Runner): The runner of the training.
        """
        loop = runner.train_loop
        if hasattr(loop, 'dataloader_iterator') and loop.dataloader.num_workers == 0:
            loop.dataloader_iterator = _SeededBatches(loop.dataloader_iterator, runner)

    def before_train_epoch(self, runner) -> None:
        """Seed this process, and the workers that the epoch will start.

        Args:
            runner (Runner): The runner of the training.
        """
        loader = runner.train_dataloader
        if not hasattr(runner.train_loop, 'dataloader_iterator'):
            _seed_everything(_derive(runner, _MODEL, runner.epoch))
            if loader.num_workers > 0:
                loader._iterator = None  # persistent workers would keep the state they are in
                loader.worker_init_fn = functools.partial(
                    worker_init_fn,
                    num_workers=loader.num_workers,
                    rank=0,
                    seed=_derive(runner, _DATA, runner.epoch) % 2**31,
                    disable_subprocess_warning=True,
                )

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        """Seed this process for one iteration, if training goes by iterations.

        Args:
            runner (Runner): The runner of the training.
            batch_idx (int): The number of the batch.
            data_batch (dict | None): The batch.
        """
        if hasattr(runner.train_loop, 'dataloader_iterator'):
            _seed_everything(_derive(runner, _MODEL, runner.iter))


class _SeededBatches:
    """Seeds this process, which loads the data itself, before each batch."""

    def __init__(self, iterator, runner):
        self.iterator = iterator
        self.runner = runner
        self.count = 0

    def __iter__(self):
        return self

    def __next__(self):
        _seed_everything(_derive(self.runner, _DATA, self.count))
        self.count += 1
        return next(self.iterator)


def _derive(runner, purpose: int, step: int) -> int:
    """A 32-bit seed for one purpose, step and process."""
    parts = [runner.seed or 0, purpose, step, runner.rank]
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def _seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)  # of CUDA devices too
