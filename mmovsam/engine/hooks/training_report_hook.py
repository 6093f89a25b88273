"""What a training is about to do, and how long it will take."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop

from ..unwrap import unwrap


@HOOKS.register_module()
class TrainingReportHook(Hook):
    """Log how many parameters train on how many images of each source, and the time of an epoch.

    The time is measured at the start; MMEngine's `eta` in each later line is of all iterations so
    far.

    Args:
        warm_up: Iterations that are not measured.
        measured: Iterations that are, after these.
    """

    priority = 'LOW'  # its line comes after those that others log about the start

    def __init__(self, warm_up: int = 5, measured: int = 20) -> None:
        self.warm_up = warm_up
        self.measured = measured

    def before_train(self, runner) -> None:
        """Count parameters and images."""
        self._first = runner.iter
        parameters = list(unwrap(runner.model).parameters())
        training = sum(p.numel() for p in parameters if p.requires_grad)
        images = ', '.join(
            f'{count:,} of {source}'
            for source, count in sources_of(runner.train_dataloader.dataset)
        )
        runner.logger.info(
            f'{training:,} of {sum(p.numel() for p in parameters):,} parameters train. '
            f'Images: {images}. {_length(runner)}.'
        )

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Measure the first iterations."""
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

    Args:
        dataset: A data set, or a wrapper of one or several.

    Yields:
        The name of each, its `source` where it has one, else its class and its annotations.
    """
    if hasattr(dataset, 'datasets'):
        for part in dataset.datasets:
            yield from sources_of(part)
    elif len(getattr(dataset, 'dataset', ())) == len(dataset):  # what adds to images, not repeats
        yield from sources_of(dataset.dataset)
    else:
        name = (getattr(dataset, 'metainfo', None) or {}).get('source')
        file = getattr(dataset, 'ann_file', '')
        yield name or ' '.join(filter(None, [type(dataset).__name__, str(file)])), len(dataset)


def _length(runner) -> str:
    batch = f'batches of {runner.train_dataloader.batch_sampler.batch_size * runner.world_size}'
    if isinstance(runner.train_loop, EpochBasedTrainLoop):
        return f'{runner.max_epochs} epochs of {len(runner.train_dataloader):,} {batch}'
    return f'{runner.max_iters:,} {batch}'
