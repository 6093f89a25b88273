"""Losses that are not finite, in real trainings of one batch after another."""

import os
import signal

import pytest
import tiny_dump
import torch
from mmdet.structures import DetDataSample
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import OPTIM_WRAPPERS
from noisy_training import NoisyModel, make_runner, weights_of

from mmovsam.engine.hooks import NonFiniteLossError, NonFiniteLossHook
from mmovsam.engine.hooks.non_finite_loss_hook import describe_batch
from mmovsam.prompts import Prompts

NAN, INF = float('nan'), float('inf')
CLIP = dict(clip_grad=dict(max_norm=1.0))
SCALED = dict(type='ScaledOptimWrapper')


class BadModel(NoisyModel):
    """Its loss is `value` at some iterations, with finite gradients unless that is NaN."""

    def __init__(self, bad=(4,), value=NAN):
        super().__init__()
        self.norm = torch.nn.Identity()
        self.bad, self.value, self.history = bad, value, []

    def forward(self, inputs, mode='loss', names=None):
        self.history.append(torch.cat([p.detach().flatten() for p in self.parameters()]))
        losses = super().forward(inputs)
        if len(self.seen) in self.bad:
            if self.value is None:  # a finite loss whose gradient is not
                losses['loss_other'] = (losses['loss'] * 0).sqrt()
            else:
                losses['loss_other'] = losses['loss'] * 0 + self.value
        return losses


@OPTIM_WRAPPERS.register_module()
class ScaledOptimWrapper(OptimWrapper):
    """Leaves out the step if gradients are not finite, as loss scaling does."""

    def step(self, **kwargs):
        if all(p.grad.isfinite().all() for p in self.optimizer.param_groups[0]['params']):
            super().step(**kwargs)


def collate(samples):
    names = [f'{int(sample[0])}.jpg' for sample in samples]
    return dict(inputs=torch.stack(samples), names=names)


def runner_with(folder, model, action='stop', wrapper=None, **kwargs):
    hooks = [dict(type='NonFiniteLossHook', action=action, **kwargs)]
    loader = dict(collate_fn=collate)
    return make_runner(
        folder, model=model, custom_hooks=hooks, loader=loader, wrapper=wrapper or {}
    )


@pytest.mark.parametrize(('value', 'wrapper'), [(NAN, {}), (INF, CLIP), (NAN, SCALED)])
def test_training_stops_with_the_images_before_the_weights_change(tmp_path, value, wrapper):
    model = BadModel(value=value)
    runner = runner_with(tmp_path, model, wrapper=wrapper)
    with pytest.raises(NonFiniteLossError) as error:
        runner.train()
    text = str(error.value)
    assert 'iteration 4: loss ' in text and f'loss_other {value}' in text
    images = [f"names '{int(index)}.jpg'" for index in model.seen[-1][:, 0]]
    assert all(image in text for image in images) and text.count('.jpg') == 2
    assert torch.equal(model.history[-1], weights_of(runner).float())


def test_gradients_that_are_not_finite_stop_training_where_clipping_sees_them(tmp_path):
    runner = runner_with(tmp_path, BadModel(value=None), wrapper=CLIP)
    message = r'losses are finite .* gradients \(norm (nan|inf)'
    with pytest.raises(NonFiniteLossError, match=message):
        runner.train()
    assert weights_of(runner).isfinite().all()


def test_skipped_batch_leaves_no_trace_and_training_goes_on_unless_many_follow(tmp_path):
    many = BadModel(bad=range(4, 13))
    with pytest.raises(NonFiniteLossError, match='2 steps in a row were skipped'):
        runner_with(tmp_path / 'many', many, 'skip', max_skipped=2).train()
    assert len(many.seen) == 6
    model = BadModel()
    model.norm = torch.nn.BatchNorm1d(4)  # its statistics have seen no number that is not finite
    runner = runner_with(tmp_path, model, 'skip', wrapper=CLIP)
    runner.train()
    assert len(model.seen) == 12
    same = [torch.equal(a, b) for a, b in zip(model.history, model.history[1:])]
    assert [i for i, unchanged in enumerate(same, 1) if unchanged] == [4]
    state = runner.optim_wrapper.optimizer.state.values()
    assert {int(parameter['step']) for parameter in state} == {11}


def test_batches_that_are_summed_up_with_a_bad_one_are_skipped_and_not_blamed(tmp_path):
    model = BadModel(bad=(5,))
    runner = runner_with(tmp_path, model, wrapper=dict(accumulative_counts=3))
    with pytest.raises(NonFiniteLossError) as error:
        runner.train()
    assert len(model.seen) == 6
    bad = [f'{int(index)}.jpg' for index in model.seen[4][:, 0]]
    assert str(error.value).count('.jpg') == 2 and all(name in str(error.value) for name in bad)


def test_batch_that_broke_running_statistics_is_not_skipped(tmp_path):
    model = BadModel()
    model.norm = torch.nn.BatchNorm1d(4)
    model.norm.register_forward_pre_hook(lambda norm, inputs: (inputs[0] * INF,))
    with pytest.raises(NonFiniteLossError, match='running statistics of norm have seen it'):
        runner_with(tmp_path, model, 'skip').train()


@pytest.mark.parametrize('action', ['stop', 'skip'])
def test_processes_do_the_same_if_one_of_them_has_a_bad_batch(tmp_path, monkeypatch, action):
    def run(rank):
        signal.alarm(100)  # one that waits for the other would wait forever
        model = BadModel(bad=(4,) if rank else ())
        runner = runner_with(tmp_path / str(rank), model, action)
        try:
            runner.train()
        except NonFiniteLossError as error:
            assert action == 'stop' and '.jpg' in str(error) and len(model.seen) == 4
        else:
            assert action == 'skip' and torch.equal(model.history[3], model.history[4])

    monkeypatch.setitem(os.environ, 'CUDA_VISIBLE_DEVICES', '-1')
    assert tiny_dump.in_two_processes(run) == [0, 0]


def test_unknown_action_and_several_optimizers_are_refused(tmp_path):
    with pytest.raises(ValueError, match="action is 'ignore'; choose one of stop, skip"):
        NonFiniteLossHook('ignore')
    runner = runner_with(tmp_path, BadModel())
    wrapper = OptimWrapper(torch.optim.SGD(runner.model.parameters(), lr=0.1))
    runner.optim_wrapper = OptimWrapperDict(generator=wrapper, critic=wrapper)
    with pytest.raises(TypeError, match=r'has generator, critic\. Leave .* out of default_hooks'):
        runner.call_hook('before_train')


def test_images_are_described_by_file_source_and_prompts():
    sample = DetDataSample(metainfo=dict(img_path='a/1.jpg', source='LVIS'))
    sample.prompts = Prompts(
        bboxes=[[1, 2, 3.25, 4], [NAN] * 4, [NAN] * 4],
        point_coords=[[[0, 0]], [[5, 6]], [[7, 8]]],
        point_labels=[[-1], [1], [0]],
    )
    bare = DetDataSample(metainfo=dict(img_id=9))
    assert describe_batch(dict(data_samples=[sample, bare])) == [
        "a/1.jpg, source LVIS, prompts in the network's input: box [1.0, 2.0, 3.2, 4.0]; "
        'point [5.0, 6.0]; background point [7.0, 8.0]',
        'image 9',
    ]
