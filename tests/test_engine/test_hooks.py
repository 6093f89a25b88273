"""The hooks in real, tiny trainings: one random model on random data."""

import itertools
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.hooks import LoggerHook
from mmengine.model import BaseModel
from mmengine.runner import EpochBasedTrainLoop, Runner, find_latest_checkpoint

from mmovsam.checkpoints import load_checkpoint_file
from mmovsam.engine.hooks import AtomicCheckpointHook, CheckpointCheckHook, SingleLoggerHook
from mmovsam.fileio import atomic_path, write_atomic

NUMBERS = itertools.count()


class Stopped(Exception):
    """In place of a kill."""


class NoisyData(torch.utils.data.Dataset):
    """Samples that are augmented with each of the global generators."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
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
        if len(self.seen) == self.stop_at:
            raise Stopped
        self.seen.append(inputs)
        noisy = torch.nn.functional.dropout(self.norm(inputs.float()), 0.5)
        return dict(loss=self.linear(noisy).square().mean())


def collate(samples):
    return dict(inputs=torch.stack(samples))


def make_runner(
    work_dir, by_epoch=True, workers=0, persistent=False, interval=1, keep=-1, **kwargs
):
    hook = dict(type='AtomicCheckpointHook', interval=interval, by_epoch=by_epoch)
    length = dict(max_epochs=3) if by_epoch else dict(max_iters=9)
    sampler = dict(type='DefaultSampler' if by_epoch else 'InfiniteSampler', shuffle=True)
    torch.manual_seed(kwargs.pop('initial', 0))
    model = NoisyModel(stop_at=kwargs.pop('stop_at', None))
    return Runner(
        model,
        str(work_dir),
        train_dataloader=dict(
            dataset=NoisyData(),
            batch_size=2,
            num_workers=workers,
            persistent_workers=persistent,
            sampler=sampler,
            collate_fn=collate,
        ),
        train_cfg=dict(by_epoch=by_epoch, **length),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.1)),
        default_hooks=dict(checkpoint=dict(hook, max_keep_ckpts=keep)),
        custom_hooks=[dict(type='RandomStateHook'), dict(type='CheckpointCheckHook')],
        randomness=dict(seed=5),
        log_level='ERROR',
        experiment_name=f'hooks{next(NUMBERS)}',
        **kwargs,
    )


def train(runner):
    """Train until the end, or until the model stops it; let data loading workers go at once."""
    try:
        runner.train()
    except Stopped:
        assert runner.model.stop_at
    finally:
        runner.train_dataloader._iterator = None
        if hasattr(runner.train_loop, 'dataloader_iterator'):
            runner.train_loop.dataloader_iterator = None


def weights_of(runner):
    return torch.cat([value.flatten().double() for value in runner.model.state_dict().values()])


@pytest.mark.parametrize(
    'settings',
    [
        dict(workers=0),
        dict(workers=2),
        dict(workers=2, persistent=True),
        dict(by_epoch=False, workers=0, interval=2),
        dict(by_epoch=False, workers=2, persistent=True, interval=2),
    ],
    ids=lambda settings: '-'.join(f'{key}={value}' for key, value in settings.items()),
)
def test_resumed_training_ends_with_the_weights_of_an_uninterrupted_one(tmp_path, settings):
    whole = make_runner(tmp_path / 'whole', **settings)
    train(whole)
    train(make_runner(tmp_path / 'cut', stop_at=6, **settings))
    resumed = make_runner(tmp_path / 'cut', resume=True, initial=77, **settings)
    train(resumed)
    assert 0 < len(resumed.model.seen) < len(whole.model.seen)
    assert torch.equal(weights_of(resumed), weights_of(whole))


@pytest.mark.parametrize('workers', [0, 2])
def test_epochs_draw_different_numbers(tmp_path, workers):
    runner = make_runner(tmp_path, workers=workers)
    train(runner)
    numbers = torch.cat(runner.model.seen)[:, 1:]
    assert len(numbers) == 24
    for column in numbers.T:
        assert len(column.unique()) == 24


def test_seed_changes_what_is_drawn(tmp_path):
    runners = [make_runner(tmp_path / str(seed)) for seed in (5, 6)]
    runners[1]._seed = 6
    for runner in runners:
        runner.train()
    first, second = (torch.cat(runner.model.seen)[:, 1:] for runner in runners)
    assert not (first == second).any()


def test_checkpoints_beyond_the_limit_are_removed_after_the_new_one_is_there(tmp_path, monkeypatch):
    present = []
    remove = os.remove
    monkeypatch.setattr(
        os, 'remove', lambda path: (present.append(sorted(os.listdir(tmp_path))), remove(path))
    )
    make_runner(tmp_path, keep=1).train()
    assert [p.name for p in tmp_path.glob('*.pth')] == ['epoch_3.pth']
    assert 'epoch_1.pth' in present[0] and 'epoch_2.pth' in present[0]
    assert Path(find_latest_checkpoint(str(tmp_path))).name == 'epoch_3.pth'


def test_resumed_training_keeps_to_the_limit_of_checkpoints(tmp_path):
    train(make_runner(tmp_path, keep=1, stop_at=9))
    make_runner(tmp_path, keep=1, resume=True).train()
    assert [p.name for p in tmp_path.glob('*.pth')] == ['epoch_3.pth']


def test_save_that_fails_leaves_the_last_good_checkpoint(tmp_path, monkeypatch):
    written = []

    def fail_second(path, data):
        if Path(path).suffix == '.pth':
            written.append(path)
            if len(written) == 2:
                with atomic_path(path) as temporary:
                    temporary.write_bytes(data[: len(data) // 2])
                    raise Stopped
        write_atomic(path, data)

    monkeypatch.setattr('mmovsam.engine.hooks.atomic_checkpoint_hook.write_atomic', fail_second)
    with pytest.raises(Stopped):
        make_runner(tmp_path, keep=1).train()
    assert [p.name for p in tmp_path.glob('*.pth')] == ['epoch_1.pth']
    assert load_checkpoint_file(find_latest_checkpoint(str(tmp_path)))['meta']['epoch'] == 1


KILLED_IN_WRITING = """
import os, signal, sys
from pathlib import Path
import mmovsam.fileio as fileio
write = Path.write_bytes
def killed(path, data):
    write(path, data[:100])
    os.kill(os.getpid(), signal.SIGKILL)
fileio.write_atomic(sys.argv[1], b'old' * 100)
Path.write_bytes = killed
fileio.write_atomic(sys.argv[1], b'new' * 100)
"""


def test_kill_in_the_middle_of_a_write_leaves_the_old_file_and_training_tidies_up(tmp_path):
    path = tmp_path / 'epoch_1.pth'
    done = subprocess.run([sys.executable, '-c', KILLED_IN_WRITING, str(path)])
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == b'old' * 100
    assert len(list(tmp_path.glob('.*.tmp'))) == 1
    make_runner(tmp_path).train()
    assert not list(tmp_path.glob('.*.tmp'))


def test_remote_output_keeps_its_own_backend():
    assert AtomicCheckpointHook().backend_args == dict(backend='mmovsam_atomic')
    assert AtomicCheckpointHook(out_dir='s3://bucket').backend_args is None
    assert (
        AtomicCheckpointHook(backend_args=dict(backend='local')).backend_args['backend'] == 'local'
    )


def check(state_dict, training=True):
    loop = object.__new__(EpochBasedTrainLoop) if training else dict(by_epoch=True)
    runner = SimpleNamespace(model=NoisyModel(), _train_loop=loop)
    CheckpointCheckHook().after_load_checkpoint(runner, dict(state_dict=state_dict))


def test_checkpoint_of_the_model_passes():
    check(NoisyModel().state_dict())
    check({f'module.{key}': value for key, value in NoisyModel().state_dict().items()})


def test_checkpoint_of_a_part_of_the_model_passes_in_training_only():
    part = {'linear.weight': torch.ones(1, 4), 'other.weight': torch.ones(3)}
    check(part)
    with pytest.raises(ValueError, match=r'5 of the 7 tensors .* \(linear\.bias, norm\.weight'):
        check(part, training=False)


def test_checkpoint_of_another_shape_is_refused_with_both_shapes():
    with pytest.raises(ValueError, match=r'linear\.weight: \(1, 7\) in the file, \(1, 4\)'):
        check(NoisyModel(width=7).state_dict())


def test_checkpoint_of_another_model_is_refused():
    with pytest.raises(ValueError, match=r'Nothing .* other\.weight, .*another config'):
        check({'other.weight': torch.ones(3)})


def test_training_stops_before_a_checkpoint_of_another_shape_is_loaded(tmp_path):
    torch.save({'state_dict': NoisyModel(width=7).state_dict()}, tmp_path / 'wide.pth')
    runner = make_runner(tmp_path, load_from=str(tmp_path / 'wide.pth'))
    with pytest.raises(ValueError, match='another shape'):
        runner.train()


@pytest.mark.parametrize('rank', [0, 1])
def test_only_the_main_process_writes_the_metrics_of_a_test(monkeypatch, rank):
    written = []
    monkeypatch.setattr(LoggerHook, 'after_test_epoch', lambda *args: written.append(args))
    monkeypatch.setattr('mmengine.dist.utils.get_rank', lambda group=None: rank)
    SingleLoggerHook().after_test_epoch(None, {})
    assert len(written) == (rank == 0)
