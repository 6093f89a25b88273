"""Sampling of several datasets in given ratios."""

import math

import numpy as np
import torch
from mmdet.registry import DATA_SAMPLERS
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Sampler

from ..randomness import derive_seed
from ..validation import require_at_least

_ORDER, _IMAGES = 1, 2  # parts of seeds


@DATA_SAMPLERS.register_module()
class MixedSampler(Sampler):
    """Indices of a `MixedDataset` in the ratios of its datasets, exactly in each epoch.

    The order depends on the seed and the epoch alone, so a training that is resumed or runs on
    another number of processes continues with the same images. Over epochs, all images of a dataset
    are drawn once before any is drawn again.

    Args:
        dataset (MixedDataset): The dataset to sample.
        num_samples (int, optional): Images an epoch, of all processes together; by default as many
            as draw the first dataset whose ratio is not 0 once.
        group_size (int): Number of consecutive images from one dataset: 1 mixes datasets within a
            batch, the total batch size of all processes gives batches of one dataset. `num_samples`
            is rounded up to a multiple of it.
        seed (int, optional): By default the runner's.

    Raises:
        TypeError: If the dataset is no `MixedDataset`.
        ValueError: If a number is below 1.
    """

    def __init__(self, dataset, num_samples=None, group_size=1, seed=None):
        ratios = getattr(dataset, 'ratios', None)
        if ratios is None:
            raise TypeError(f'MixedSampler draws from a MixedDataset, not from {type(dataset)}')
        self.sizes = [len(source) for source in dataset.datasets]
        shares = np.array(ratios) / sum(ratios)
        if num_samples is None:
            first = int((shares > 0).argmax())
            num_samples = math.ceil(self.sizes[first] / shares[first])
        require_at_least(1, num_samples=num_samples, group_size=group_size)
        self.group_size = group_size
        self.groups = _apportion(shares, math.ceil(num_samples / group_size))
        self.starts = [0, *dataset.cumulative_sizes[:-1]]
        self.rank, self.world_size = get_dist_info()
        self.seed = sync_random_seed() if seed is None else seed
        self.epoch = 0

    def __len__(self):
        """Images of this process in an epoch."""
        return math.ceil(sum(self.groups) * self.group_size / self.world_size)

    def set_epoch(self, epoch):
        """Set the epoch, from 0, of the next iteration."""
        self.epoch = epoch

    def __iter__(self):
        """The indices of this process in one epoch."""
        sources = np.repeat(np.arange(len(self.groups)), self.groups)
        sources = sources[self._permutation(len(sources), _ORDER, self.epoch)]
        sources = np.repeat(sources, self.group_size)
        indices = np.empty(len(sources), np.int64)
        for source, start in enumerate(self.starts):
            mask = sources == source
            indices[mask] = start + self._next_images(source, int(mask.sum()))
        # padded with its start to a multiple of the number of processes
        positions = np.arange(self.rank, len(self) * self.world_size, self.world_size)
        return iter(indices[positions % len(indices)].tolist())

    def _next_images(self, source, num):
        """The next `num` images of one dataset after those of earlier epochs."""
        if num == 0:
            return np.zeros(0, np.int64)
        size, start = self.sizes[source], self.epoch * num
        passes = range(start // size, (start + num - 1) // size + 1)
        images = [self._permutation(size, _IMAGES, source, number) for number in passes]
        return np.concatenate(images)[start - passes[0] * size :][:num]

    def _permutation(self, size, *key):
        generator = torch.Generator().manual_seed(derive_seed(self.seed, *key))
        return torch.randperm(size, generator=generator).numpy()


def _apportion(shares, total):
    """Round `shares * total` to integers of the sum `total` by the largest-remainder method."""
    exact = shares * total
    counts = np.floor(exact).astype(int)
    largest = np.argsort(counts - exact, kind='stable')
    counts[largest[: total - counts.sum()]] += 1
    return counts
