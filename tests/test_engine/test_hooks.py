"""Hooks that watch over a training: signs of life, weights that fit, one writer of metrics."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import LoggerHook
from mmengine.runner import EpochBasedTrainLoop
from noisy_training import NoisyModel, make_runner

from mmovsam.engine.hooks import CheckpointCheckHook, HeartbeatHook, SingleLoggerHook


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
