"""A tiny training in which everything draws from the global generators."""

import itertools
import random

import numpy as np
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner

NUMBERS = itertools.count()


class Stopped(Exception):
    """In place of a kill."""


class NoisyData(torch.utils.data.Dataset):
    """Samples that are augmented with each of the global generators."""

    def __init__(self):
        self.loaded = []

    def __len__(self):
        return 8

    def get_data_info(self, index):
        return dict(width=1 + index % 3, height=2)

    def __getitem__(self, index):
        self.loaded.append(index)
        return torch.tensor([index, random.random(), np.random.rand(), torch.rand(()).item()])


class NoisyModel(BaseModel):
    """A linear layer behind dropout; stops when asked to."""

    def __init__(self, width=4, stop_at=None):
        super().__init__()
        self.linear = torch.nn.Linear(width, 1)
        self.norm = torch.nn.BatchNorm1d(width)
        self.stop_at = stop_at
        self.seen = []

    def forward(self, inputs, mode='loss'):
        if mode == 'predict':
            return [inputs]
        if len(self.seen) == self.stop_at:
            raise Stopped
        self.seen.append(inputs)
        noisy = torch.nn.functional.dropout(self.norm(inputs.float()), 0.5)
        return dict(loss=self.linear(noisy).square().mean())


def collate(samples):
    return dict(inputs=torch.stack(samples))


def make_runner(work_dir, by_epoch=True, saved_by_epoch=None, interval=1, keep=-1, **kwargs):
    """A runner of three epochs of four batches, or of nine iterations."""
    saved_by_epoch = by_epoch if saved_by_epoch is None else saved_by_epoch
    hook = dict(type='AtomicCheckpointHook', interval=interval, by_epoch=saved_by_epoch)
    if by_epoch:
        train_cfg = dict(type='ResumableEpochLoop', max_epochs=3)
    else:
        train_cfg = dict(type='ResumableIterLoop', max_iters=9)
    sampler = kwargs.pop('sampler', 'DefaultSampler' if by_epoch else 'InfiniteSampler')
    torch.manual_seed(kwargs.pop('initial', 0))
    model = kwargs.pop('model', None) or NoisyModel(stop_at=kwargs.pop('stop_at', None))
    loader = dict(
        dataset=NoisyData(),
        batch_size=2,
        num_workers=kwargs.pop('workers', 0),
        persistent_workers=kwargs.pop('persistent', False),
        sampler=dict(type=sampler, shuffle=True),
        collate_fn=collate,
    )
    settings = dict(
        train_dataloader={**loader, **kwargs.pop('loader', {})},
        train_cfg=train_cfg,
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.1), **kwargs.pop('wrapper', {})),
        param_scheduler=dict(type='MultiStepLR', by_epoch=by_epoch, milestones=[1, 2]),
        default_hooks=dict(checkpoint=dict(hook, max_keep_ckpts=keep)),
        custom_hooks=[dict(type='CheckpointCheckHook')],
        randomness=dict(seed=5),
        log_level='ERROR',
        experiment_name=f'noisy{next(NUMBERS)}',
    )
    return Runner(model, str(work_dir), **{**settings, **kwargs})


def train(runner):
    """Train until the end, or until the model stops it; let data loading workers go at once."""
    try:
        runner.train()
    except Stopped:
        assert runner.model.stop_at
    finally:
        runner.train_dataloader._iterator = None


def weights_of(runner):
    return torch.cat([value.flatten().double() for value in runner.model.state_dict().values()])


def indices(batches):
    """The indices of the samples of batches, in their order."""
    return [int(row[0]) for batch in batches for row in batch]
