"""Randomness of a training sample that does not depend on who loads it."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmdet.structures import DetDataSample
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ...randomness import derive_seed, seeded


@HOOKS.register_module()
class SampleSeedHook(Hook):
    """Let transforms and model draw the same numbers for a sample in any number of processes.

    They are a function of the seed, the epoch and the sample's index in the data set; `seed` in the
    meta information of its `data_samples` is for what the model draws. In an iteration-based
    training, which has no epochs, they are left to the processes.
    """

    def before_train_epoch(self, runner: Runner) -> None:
        """Give the samples of an epoch their seeds.

        Args:
            runner: The runner of the training.
        """
        if hasattr(runner.train_loop, 'dataloader_iterator'):
            return
        loader = runner.train_dataloader
        # PyTorch's loader asks a data set for all items of a batch where it has this method.
        loader.dataset.__getitems__ = SeededItems(loader.dataset, runner.seed or 0, runner.epoch)
        loader._iterator = None  # persistent workers would keep the epoch that they know


class SeededItems:
    """Items of a data set, each made with random numbers of its own.

    Args:
        dataset: The data set.
        seed: Of the training.
        epoch: Number of the epoch.
    """

    def __init__(self, dataset: Any, seed: int, epoch: int) -> None:
        self.dataset = dataset
        self.seed = seed
        self.epoch = epoch

    def __call__(self, indices: list[int]) -> list:
        """The items of a batch."""
        return [self._item(index) for index in indices]

    def _item(self, index: int) -> Any:
        with seeded(derive_seed(self.seed, self.epoch, index)):
            item = self.dataset[index]
            sample = item.get('data_samples') if isinstance(item, dict) else None
            if isinstance(sample, DetDataSample):
                sample.set_metainfo(dict(seed=int(np.random.randint(2**31))))
        return item
