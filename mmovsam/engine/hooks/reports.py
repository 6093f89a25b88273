"""Hooks for the log: the extent of a training, and metrics of the main process."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta

from mmengine.dist import master_only
from mmengine.hooks import Hook, LoggerHook
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop

from ...datasets.files import leaf_datasets
from ..processes import unwrap


@HOOKS.register_module()
class SingleLoggerHook(LoggerHook):
    """MMEngine's `LoggerHook`, with metrics of a test written by the main process only.

    MMEngine's processes all write the same JSON file at once, which can corrupt it.
    """

    @master_only
    def after_test_epoch(self, runner, metrics: dict[str, float] | None = None) -> None:
        super().after_test_epoch(runner, metrics)


@HOOKS.register_module()
class TrainingReportHook(Hook):
    """Log the number of trained parameters, the images of each source, and the time of an epoch.

    The time is extrapolated from `measured` iterations after `warm_up` ones.
    """

    priority = 'LOW'  # after what other hooks log at the start

    def __init__(self, warm_up: int = 5, measured: int = 20) -> None:
        self.warm_up = warm_up
        self.measured = measured

    def before_train(self, runner) -> None:
        self._first = runner.iter
        parameters = list(unwrap(runner.model).parameters())
        training = sum(p.numel() for p in parameters if p.requires_grad)
        loader = runner.train_dataloader
        images = ', '.join(f'{count:,} of {name}' for name, count in sources_of(loader.dataset))
        batch = f'batches of {loader.batch_sampler.batch_size * runner.world_size}'
        if isinstance(runner.train_loop, EpochBasedTrainLoop):
            length = f'{runner.max_epochs} epochs of {len(loader):,} {batch}'
        else:
            length = f'{runner.max_iters:,} {batch}'
        runner.logger.info(
            f'{training:,} of {sum(p.numel() for p in parameters):,} parameters train. '
            f'Images: {images}. {length}.'
        )

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        done = runner.iter + 1 - self._first
        if done == self.warm_up:
            self._start = time.perf_counter()
        if done == self.warm_up + self.measured:
            seconds = (time.perf_counter() - self._start) / self.measured
            by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
            total = len(runner.train_dataloader) if by_epoch else runner.max_iters
            runner.logger.info(
                f'{"An epoch" if by_epoch else "All of it"} takes about '
                f'{timedelta(seconds=round(seconds * total))}: {total:,} iterations of '
                f'{seconds:.3g} s, validation and checkpoints not counted.'
            )


def sources_of(dataset) -> Iterator[tuple[str, int]]:
    """Names and lengths of the data sets that a data set consists of.

    The name is the `source` where there is one, else the class and the annotation file.
    """
    for leaf in leaf_datasets(dataset):
        name = (getattr(leaf, 'metainfo', None) or {}).get('source')
        yield name or f'{type(leaf).__name__} {getattr(leaf, "ann_file", "")}'.rstrip(), len(leaf)
