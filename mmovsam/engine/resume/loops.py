"""Training loops that resume exactly, also in the middle of an epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.dist import get_dist_info, get_rank, get_world_size
from mmengine.registry import LOOPS
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, IterBasedTrainLoop
from mmengine.runner.utils import calc_dynamic_intervals
from mmengine.structures import BaseDataElement

from ...randomness import derive_seed
from .seeding import seed_step

_PROGRESS = 'trained_samples'  # key in checkpoints: of this epoch, over all processes


@LOOPS.register_module()
class ResumableEpochLoop(EpochBasedTrainLoop):
    """MMEngine's `EpochBasedTrainLoop`, resumed after the last batch before a checkpoint.

    Batches, augmentation and random numbers of the model depend on the seed and the progress only,
    not on what ran before in this process or a worker. With another number of processes training
    goes on at the same position in the data. Arguments are those of `EpochBasedTrainLoop`.

    Raises:
        TypeError: The data loader is not given as a config.
    """

    def __init__(self, runner, dataloader: Mapping, max_epochs: int, **kwargs) -> None:
        super().__init__(runner, _seeded(dataloader), max_epochs, **kwargs)
        self._first_seed = runner.seed

    def run_epoch(self) -> None:
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        # checkpoints of MMEngine's loop have the total iterations only
        first = max(self._iter - self._epoch * len(self.dataloader), 0)
        for number, data_batch in _batches_from(self, first):
            self.run_iter(number, data_batch)
        self.runner.message_hub.update_info(_PROGRESS, 0)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def run_iter(self, idx: int, data_batch: Sequence[dict]) -> None:
        seed_step(self.runner.seed, self._iter, get_rank())
        super().run_iter(idx, data_batch)


@LOOPS.register_module()
class ResumableIterLoop(IterBasedTrainLoop):
    """MMEngine's `IterBasedTrainLoop`, resumed without loading the trained batches again.

    Like `ResumableEpochLoop`, with all passes over the data as one endless epoch, for finite and
    infinite samplers. Arguments are those of `IterBasedTrainLoop`.

    Raises:
        TypeError: The data loader is not given as a config.
        ValueError: There are no training data.
    """

    def __init__(
        self,
        runner,
        dataloader: Mapping,
        max_iters: int,
        val_begin: int = 1,
        val_interval: int = 1000,
        dynamic_intervals: Sequence[tuple[int, int]] | None = None,
    ) -> None:
        # the parent's would begin to load data before the position is known
        BaseLoop.__init__(self, runner, _seeded(dataloader, endless=True))
        self._max_iters = int(max_iters)
        self._max_epochs = 1
        self._epoch = self._iter = 0
        self.val_begin = val_begin
        self.val_interval = val_interval
        self.stop_training = False  # hooks set it
        self.dynamic_milestones, self.dynamic_intervals = calc_dynamic_intervals(
            val_interval, dynamic_intervals
        )
        if hasattr(self.dataloader.dataset, 'metainfo'):
            runner.visualizer.dataset_meta = self.dataloader.dataset.metainfo
        self._first_seed = runner.seed

    def run(self):
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        batches = _batches_from(self, self._iter)
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(batches)[1])
            self._decide_current_val_interval()
            due = self._iter % self.val_interval == 0 or self._iter == self._max_iters
            if self.runner.val_loop is not None and self._iter >= self.val_begin and due:
                self.runner.val_loop.run()
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model

    def run_iter(self, data_batch: Sequence[dict]) -> None:
        seed_step(self.runner.seed, self._iter, get_rank())
        super().run_iter(data_batch)


def _seeded(dataloader: Mapping, endless: bool = False) -> dict:
    """The config of a data loader, with a `SeededBatchSampler`."""
    if not isinstance(dataloader, Mapping):
        raise TypeError(
            f'train_dataloader must be a config, not a {type(dataloader).__name__}: the loop '
            'chooses how its batches are seeded.'
        )
    dataloader = dict(dataloader)
    dataloader['batch_sampler'] = dict(
        type='SeededBatchSampler',
        batch_sampler=dataloader.pop('batch_sampler', None),
        drop_last=dataloader.pop('drop_last', False),
        endless=endless,
    )
    return dataloader


def _batches_from(loop: BaseLoop, default: int) -> Iterator[tuple[int, Any]]:
    """Numbered batches from the current progress on, which is noted with each batch.

    `default` is the number of the first batch for checkpoints of MMEngine's loops.
    """
    hub, seed = loop.runner.message_hub, loop.runner.seed
    batch_sampler = loop.dataloader.batch_sampler
    if getattr(batch_sampler.sampler, 'seed', None) == loop._first_seed:
        batch_sampler.sampler.seed = seed  # that of the checkpoint, if the config has none
    samples = batch_sampler.batch_size * get_world_size()
    first = hub.get_info(_PROGRESS, default * samples) // samples
    batch_sampler.start_at(seed, loop.epoch, first)
    for number, data_batch in enumerate(loop.dataloader, first):
        hub.update_info(_PROGRESS, (number + 1) * samples)
        _seed_samples(data_batch, number * samples, seed, loop.epoch)
        yield number, data_batch


def _seed_samples(data_batch: Any, first: int, seed: int, epoch: int) -> None:
    """Give each sample a `seed` for the model, independent of the number of processes.

    `first` is the position of the batch's first sample in the epoch; processes take samples in
    turn.
    """
    samples = data_batch.get('data_samples', ()) if isinstance(data_batch, dict) else ()
    rank, world_size = get_dist_info()
    for count, sample in enumerate(samples):
        if isinstance(sample, BaseDataElement):
            position = first + count * world_size + rank
            sample.set_metainfo(dict(seed=derive_seed(seed, epoch, position)))
