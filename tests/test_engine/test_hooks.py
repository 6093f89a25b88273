"""The hooks in real, tiny trainings: one random model on random data."""

import errno
import io
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import LoggerHook
from mmengine.registry import METRICS
from mmengine.runner import EpochBasedTrainLoop, find_latest_checkpoint
from noisy_training import NoisyData, NoisyModel, Stopped, collate, make_runner, train

from mmovsam.checkpoints import load_checkpoint_file
from mmovsam.engine.hooks import (
    AtomicCheckpointHook,
    CheckpointCheckHook,
    HeartbeatHook,
    SingleLoggerHook,
)
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

    monkeypatch.setattr('mmovsam.engine.hooks.atomic_checkpoint_hook.write_atomic', fail_second)
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
        patch.setattr('mmovsam.engine.hooks.atomic_checkpoint_hook.AtomicBackend.remove', killed)
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

    monkeypatch.setattr('mmovsam.engine.hooks.atomic_checkpoint_hook.write_atomic', full_disk)
    message = r'of the best weights could not be written: No space .*epoch_2\.pth is complete'
    with pytest.raises(OSError, match=message):
        validated_runner(tmp_path, [0.5, 0.6]).train()
    assert best_of(tmp_path) == ['best_a_epoch_1.pth']


def test_each_of_several_metrics_keeps_its_best_checkpoint(tmp_path):
    validated_runner(tmp_path, [0.1, 0.5, 0.2], hook=dict(save_best=['a', 'b'])).train()
    assert best_of(tmp_path) == ['best_a_epoch_2.pth', 'best_b_epoch_1.pth']


def test_waiting_times_that_are_not_positive_are_refused():
    with pytest.raises(ValueError, match='must be positive, not 0 and'):
        HeartbeatHook(seconds=0)


def test_training_goes_on_without_signs_of_life_where_gloo_cannot_connect(monkeypatch):
    def fail(**_):
        raise RuntimeError('connectFullMesh failed')

    monkeypatch.setattr('mmovsam.engine.hooks.heartbeat_hook.is_distributed', lambda: True)
    monkeypatch.setattr(torch.distributed, 'new_group', fail)
    warnings = []
    hook = HeartbeatHook()
    hook.before_train(SimpleNamespace(logger=SimpleNamespace(warning=warnings.append)))
    hook.after_train(None)
    (warning,) = warnings
    assert 'connectFullMesh failed' in warning and 'GLOO_SOCKET_IFNAME' in warning


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
