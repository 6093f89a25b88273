"""What the log says: what a training is about to do and how long it takes, and metrics once."""

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
    """MMEngine's `LoggerHook`, but the metrics of a test are written by the main process alone.

    MMEngine has every process write the same JSON file at once, which now and then ends as a mix of
    two.
    """

    @master_only
    def after_test_epoch(self, runner, metrics: dict[str, float] | None = None) -> None:
        super().after_test_epoch(runner, metrics)


@HOOKS.register_module()
class TrainingReportHook(Hook):
    """Log how many parameters train on how many images of each source, and the time of an epoch.

    The time is that of the `measured` iterations after those of `warm_up`; MMEngine's `eta` in each
    later line is of all iterations so far.
    """

    priority = 'LOW'  # its line comes after those that others log about the start

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
            whole = len(runner.train_dataloader) if by_epoch else runner.max_iters
            runner.logger.info(
                f'{"An epoch" if by_epoch else "All of it"} takes about '
                f'{timedelta(seconds=round(seconds * whole))}: {whole:,} iterations of '
                f'{seconds:.3g} s, validation and checkpoints not counted.'
            )


def sources_of(dataset) -> Iterator[tuple[str, int]]:
    """The data sets that a data set is made of, and the number of images of each.

    The name of each is its `source` where it has one, else its class and its annotations.
    """
    for leaf in leaf_datasets(dataset):
        name = (getattr(leaf, 'metainfo', None) or {}).get('source')
        yield name or f'{type(leaf).__name__} {getattr(leaf, "ann_file", "")}'.rstrip(), len(leaf)
