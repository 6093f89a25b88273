"""Checkpoints in real, tiny trainings that are killed: one random model on random data."""

import errno
import io
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS
from mmengine.runner import find_latest_checkpoint
from noisy_training import NoisyData, Stopped, collate, make_runner, train
from tiny_dump import in_child

from mmovsam import fileio
from mmovsam.checkpoints import load_checkpoint_file
from mmovsam.fileio import write_atomic

WRITE = 'mmovsam.engine.resume.atomic_checkpoint_hook.write_atomic'


def names(folder, pattern='*.pth'):
    return sorted(path.name for path in folder.glob(pattern))


def test_checkpoints_beyond_the_limit_are_removed_after_the_new_one_is_there(tmp_path, monkeypatch):
    present, remove = [], os.remove
    monkeypatch.setattr(os, 'remove', lambda path: present.append(names(tmp_path)) or remove(path))
    make_runner(tmp_path, keep=1).train()
    assert names(tmp_path) == ['epoch_3.pth'] and present[0] == ['epoch_1.pth', 'epoch_2.pth']
    assert Path(find_latest_checkpoint(str(tmp_path))).name == 'epoch_3.pth'


@pytest.mark.parametrize('killed_in_removing', [False, True])
def test_resumed_training_keeps_to_the_limit_of_checkpoints(
    tmp_path, monkeypatch, killed_in_removing
):
    def killed(*_):
        raise Stopped

    if killed_in_removing:
        remove = 'mmovsam.engine.resume.atomic_checkpoint_hook.AtomicBackend.remove'
        with monkeypatch.context() as patch, pytest.raises(Stopped):
            patch.setattr(remove, killed)
            make_runner(tmp_path, keep=1).train()
        assert names(tmp_path) == ['epoch_1.pth', 'epoch_2.pth']
    else:
        train(make_runner(tmp_path, keep=1, stop_at=9))
    make_runner(tmp_path, keep=1, resume=True).train()
    assert names(tmp_path) == ['epoch_3.pth']


@pytest.mark.parametrize('victim', ['.epoch_2.pth', '.last_checkpoint'])
def test_full_disk_stops_training_and_the_last_good_checkpoint_is_named(
    tmp_path, monkeypatch, victim
):
    class FullDisk(io.FileIO):
        def write(self, data):
            if Path(self.name).name.startswith(victim):
                super().write(data[: len(data) // 2])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().write(data)

    train(make_runner(tmp_path, stop_at=5))
    before = (tmp_path / 'epoch_1.pth').read_bytes()
    monkeypatch.setattr('mmovsam.fileio.open', FullDisk, raising=False)
    message = r'epoch_2\.pth could not be written: No space .*epoch_1\.pth is complete'
    with pytest.raises(OSError, match=message):
        make_runner(tmp_path, resume=True, keep=1).train()
    monkeypatch.undo()
    assert not names(tmp_path, '.*.tmp')
    assert (tmp_path / 'epoch_1.pth').read_bytes() == before
    latest = find_latest_checkpoint(str(tmp_path))
    assert load_checkpoint_file(latest)['meta']['epoch'] == 1
    make_runner(tmp_path, resume=True).train()
    assert (tmp_path / 'epoch_3.pth').is_file()


def test_kill_in_the_middle_of_a_write_leaves_the_old_file_and_training_tidies_up(tmp_path):
    path = tmp_path / 'epoch_1.pth'
    write_atomic(path, b'old' * 100)

    def killed_in_writing():
        fileio.os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)
        write_atomic(path, b'new' * 100, durable=True)

    assert os.waitpid(in_child(killed_in_writing), 0)[1] == signal.SIGKILL
    assert path.read_bytes() == b'old' * 100
    assert len(names(tmp_path, '.*.tmp')) == 1
    make_runner(tmp_path).train()
    assert not names(tmp_path, '.*.tmp')


@METRICS.register_module()
class GivenScores(BaseMetric):
    """One score after the other."""

    def __init__(self, scores):
        super().__init__()
        self.scores = list(scores)

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        return dict(a=np.float64(self.scores.pop(0)), b=np.float64(len(self.scores)))


def validated_runner(folder, scores, save_best='a', **kwargs):
    """Three epochs, each with a checkpoint and a validation of a score that is given."""
    hook = dict(type='AtomicCheckpointHook', interval=1, save_best=save_best, rule='greater')
    sampler = dict(type='DefaultSampler', shuffle=False)
    loader = dict(dataset=NoisyData(), batch_size=8, num_workers=0, sampler=sampler)
    return make_runner(
        folder,
        default_hooks=dict(checkpoint=hook),
        val_dataloader=dict(loader, collate_fn=collate),
        val_evaluator=dict(type='GivenScores', scores=scores),
        val_cfg=dict(type='ValLoop'),
        **kwargs,
    )


@pytest.mark.parametrize(('score', 'best'), [(0.4, 1), (0.6, 3)])
def test_resumed_training_knows_the_best_score_and_its_checkpoint(tmp_path, score, best):
    train(validated_runner(tmp_path, [0.5, 0.1], stop_at=10))  # in epoch 3
    assert names(tmp_path, 'best_*') == ['best_a_epoch_1.pth']
    validated_runner(tmp_path, [score], resume=True).train()
    assert names(tmp_path, 'best_*') == [f'best_a_epoch_{best}.pth']
    several = tmp_path / 'several'  # metrics
    validated_runner(several, [0.1, 0.5, 0.2], save_best=['a', 'b']).train()
    assert names(several, 'best_*') == ['best_a_epoch_2.pth', 'best_b_epoch_1.pth']


def test_the_best_checkpoint_stays_until_a_better_one_is_written(tmp_path, monkeypatch):
    def full_disk(path, data, durable):
        if Path(path).name == 'best_a_epoch_2.pth':
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write_atomic(path, data, durable)

    monkeypatch.setattr(WRITE, full_disk)
    message = r'of the best weights could not be written: No space .*epoch_2\.pth is complete'
    with pytest.raises(OSError, match=message):
        validated_runner(tmp_path, [0.5, 0.6]).train()
    assert names(tmp_path, 'best_*') == ['best_a_epoch_1.pth']


def test_work_folder_that_was_copied_is_resumed_from_its_own_checkpoint_by_mmengine_too(tmp_path):
    """As `mim train --resume` does it, which knows nothing of our commands."""
    train(make_runner(tmp_path / 'old', stop_at=5))
    shutil.copytree(tmp_path / 'old', tmp_path / 'new')
    (tmp_path / 'old' / 'epoch_1.pth').write_bytes(b'of another training')
    runner = make_runner(tmp_path / 'new', resume=True)
    runner.train()
    assert len(runner.model.seen) == 8 and (tmp_path / 'new' / 'epoch_3.pth').is_file()
