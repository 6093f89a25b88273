"""Checkpoints in real, tiny trainings that are killed: one random model on random data."""

import errno
import io
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS
from mmengine.runner import find_latest_checkpoint
from noisy_training import NoisyData, Stopped, collate, make_runner, train

from mmovsam.checkpoints import load_checkpoint_file
from mmovsam.engine.resume import AtomicCheckpointHook
from mmovsam.fileio import atomic_path, write_atomic


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

    def fail_second(path, data, durable):
        if Path(path).suffix == '.pth':
            written.append(path)
            if len(written) == 2:
                with atomic_path(path) as temporary:
                    temporary.write_bytes(data[: len(data) // 2])
                    raise Stopped
        write_atomic(path, data, durable)

    monkeypatch.setattr('mmovsam.engine.resume.atomic_checkpoint_hook.write_atomic', fail_second)
    with pytest.raises(Stopped):
        make_runner(tmp_path, keep=1).train()
    assert [p.name for p in tmp_path.glob('*.pth')] == ['epoch_1.pth']
    assert load_checkpoint_file(find_latest_checkpoint(str(tmp_path)))['meta']['epoch'] == 1


KILLED_IN_WRITING = """
import os, signal, sys
import mmovsam.fileio as fileio
fileio.write_atomic(sys.argv[1], b'old' * 100)
os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)
fileio.write_atomic(sys.argv[1], b'new' * 100, durable=True)
"""


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
    assert not list(tmp_path.glob('.*.tmp'))
    assert (tmp_path / 'epoch_1.pth').read_bytes() == before
    assert Path(find_latest_checkpoint(str(tmp_path))).name == 'epoch_1.pth'
    make_runner(tmp_path, resume=True).train()
    assert (tmp_path / 'epoch_3.pth').is_file()


def test_file_size_limit_of_the_system_leaves_no_half_checkpoint(tmp_path):
    """A real refusal in the middle of a write."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    runner = make_runner(tmp_path)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
        with pytest.raises(OSError, match=r'epoch_1\.pth could not be written: File too large'):
            runner.train()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert not list(tmp_path.glob('*.pth')) and not list(tmp_path.glob('.*.tmp'))


def test_training_killed_before_outdated_checkpoints_are_removed_removes_them_later(
    tmp_path, monkeypatch
):
    def killed(*_):
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr('mmovsam.engine.resume.atomic_checkpoint_hook.AtomicBackend.remove', killed)
        with pytest.raises(Stopped):
            make_runner(tmp_path, keep=1).train()
    assert sorted(p.name for p in tmp_path.glob('*.pth')) == ['epoch_1.pth', 'epoch_2.pth']
    make_runner(tmp_path, keep=1, resume=True).train()
    assert [p.name for p in tmp_path.glob('*.pth')] == ['epoch_3.pth']


def test_kill_in_the_middle_of_a_write_leaves_the_old_file_and_training_tidies_up(tmp_path):
    path = tmp_path / 'epoch_1.pth'
    done = subprocess.run([sys.executable, '-c', KILLED_IN_WRITING, str(path)])
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == b'old' * 100
    assert len(list(tmp_path.glob('.*.tmp'))) == 1
    make_runner(tmp_path).train()
    assert not list(tmp_path.glob('.*.tmp'))


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


def validated_runner(folder, scores, **kwargs):
    """Three epochs, each with a checkpoint and a validation of a score that is given."""
    hook = dict(type='AtomicCheckpointHook', interval=1, **kwargs.pop('hook', dict(save_best='a')))
    loader = dict(
        dataset=NoisyData(),
        batch_size=8,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=collate,
    )
    return make_runner(
        folder,
        default_hooks=dict(checkpoint=dict(hook, rule='greater')),
        val_dataloader=loader,
        val_evaluator=dict(type='GivenScores', scores=scores),
        val_cfg=dict(type='ValLoop'),
        **kwargs,
    )


def best_of(folder):
    return sorted(path.name for path in folder.glob('best_*.pth'))


@pytest.mark.parametrize(('score', 'best'), [(0.4, 1), (0.6, 3)])
def test_resumed_training_knows_the_best_score_and_its_checkpoint(tmp_path, score, best):
    train(validated_runner(tmp_path, [0.5, 0.1], stop_at=10))  # in epoch 3
    assert best_of(tmp_path) == ['best_a_epoch_1.pth']
    validated_runner(tmp_path, [score], resume=True).train()
    assert best_of(tmp_path) == [f'best_a_epoch_{best}.pth']


def test_the_best_checkpoint_stays_until_a_better_one_is_written(tmp_path, monkeypatch):
    def full_disk(path, data, durable):
        if Path(path).name == 'best_a_epoch_2.pth':
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write_atomic(path, data, durable)

    monkeypatch.setattr('mmovsam.engine.resume.atomic_checkpoint_hook.write_atomic', full_disk)
    message = r'of the best weights could not be written: No space .*epoch_2\.pth is complete'
    with pytest.raises(OSError, match=message):
        validated_runner(tmp_path, [0.5, 0.6]).train()
    assert best_of(tmp_path) == ['best_a_epoch_1.pth']


def test_each_of_several_metrics_keeps_its_best_checkpoint(tmp_path):
    validated_runner(tmp_path, [0.1, 0.5, 0.2], hook=dict(save_best=['a', 'b'])).train()
    assert best_of(tmp_path) == ['best_a_epoch_2.pth', 'best_b_epoch_1.pth']


def test_remote_output_keeps_its_own_backend():
    assert AtomicCheckpointHook().backend_args == dict(backend='mmovsam_atomic')
    assert AtomicCheckpointHook(out_dir='s3://bucket').backend_args is None
    assert (
        AtomicCheckpointHook(backend_args=dict(backend='local')).backend_args['backend'] == 'local'
    )


def test_work_folder_that_was_copied_is_resumed_from_its_own_checkpoint_by_mmengine_too(tmp_path):
    """As `mim train --resume` does it, which knows nothing of our commands."""
    train(make_runner(tmp_path / 'old', stop_at=5))
    shutil.copytree(tmp_path / 'old', tmp_path / 'new')
    (tmp_path / 'old' / 'epoch_1.pth').write_bytes(b'of another training')
    runner = make_runner(tmp_path / 'new', resume=True)
    runner.train()
    assert len(runner.model.seen) == 8 and (tmp_path / 'new' / 'epoch_3.pth').is_file()
