"""Seeds that depend on the progress of a training, not on its history."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from mmengine.dist import get_dist_info
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import BatchSampler, Sampler

from ...randomness import seed_numpy_and_python

_SAMPLE, _STEP = 1, 2  # purposes of a seed


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seed the generators of Python, numpy and torch, on all devices, for a training step."""
    torch.manual_seed(seed_numpy_and_python(seed, _STEP, step, rank))


def seed_sample(seed: int, epoch: int, position: int) -> None:
    """Seed the generators of Python, numpy and torch, on the CPU, for loading one sample.

    `position` is that of the sample in the epoch, over all processes.
    """
    torch.default_generator.manual_seed(seed_numpy_and_python(seed, _SAMPLE, epoch, position))


@dataclass
class SeededBatch:
    """The indices of a batch, which seed the loading process as they are iterated."""

    indices: Sequence[int]
    seed: int
    epoch: int
    positions: Sequence[int]
    """In the epoch, one for each index."""

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        for index, position in zip(self.indices, self.positions):
            seed_sample(self.seed, self.epoch, position)
            yield index


@DATA_SAMPLERS.register_module()
class SeededBatchSampler(Sampler):
    """Batches that do not depend on the process that loads them.

    Random transforms depend on the seed of the training, the epoch and the position of the sample
    in it, but not on the number of workers or processes.

    Args:
        sampler: Sampler of indices.
        batch_size: Samples of a batch in each process.
        batch_sampler: Config of another batch sampler, such as MMDetection's
            `AspectRatioBatchSampler`.
        drop_last: Whether to drop a last incomplete batch; not used with `batch_sampler`.
        endless: Whether to begin a new pass over the data after each.

    Raises:
        ValueError: There is no batch to repeat endlessly.
    """

    def __init__(
        self,
        sampler: Sampler,
        batch_size: int,
        batch_sampler: Mapping | None = None,
        drop_last: bool = False,
        endless: bool = False,
    ) -> None:
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.endless = endless
        if batch_sampler is None:
            self.batches = BatchSampler(sampler, batch_size, drop_last)
        else:
            settings = dict(sampler=sampler, batch_size=batch_size)
            self.batches = DATA_SAMPLERS.build(batch_sampler, default_args=settings)
        if endless and len(self.batches) == 0:
            raise ValueError(f'The training data do not fill one batch of {batch_size}.')
        self.start_at(seed=0)

    def start_at(self, seed: int, epoch: int = 0, first: int = 0) -> None:
        """Continue with batch number `first` of an epoch; earlier ones are not loaded."""
        self.seed, self.epoch, self.first = seed, epoch, first

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[SeededBatch]:
        rank, world_size = get_dist_info()
        stream = self._passes() if self.endless else iter(self.batches)
        count = 0  # samples of this process
        for number, indices in enumerate(stream):
            if number >= self.first:
                # with MMEngine's samplers, processes take samples in turn
                positions = [(count + i) * world_size + rank for i in range(len(indices))]
                yield SeededBatch(indices, self.seed, self.epoch, positions)
            count += len(indices)

    def _passes(self) -> Iterator[list[int]]:
        for number in itertools.count():
            if hasattr(self.sampler, 'set_epoch'):
                self.sampler.set_epoch(number)
            yield from self.batches
