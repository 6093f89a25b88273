"""A training step is handed to the device whole: the host waits for no result in the middle."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.optim import build_optim_wrapper
from other_device import other_device

from mmovsam.engine.hooks import NonFiniteLossHook
from mmovsam.teacher_features import encode

FEDERATED = dict(type='VocabularyLoss', federated=True)
OPTIM = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3))


def image_level(make):
    """An image without masks, with two labels."""
    picture, sample = make.sample(1, training=True, seed=9)
    del sample.gt_instances.masks
    sample.set_metainfo(dict(source='pictures', true_labels=(0, 3)))
    return picture, sample


def step(model, data, **optim):
    """The waits of a step of a model that has been moved to the device."""
    model.train().to('meta')
    optim_wrapper = build_optim_wrapper(model, dict(OPTIM, **optim))
    with other_device() as work:
        model.train_step(data, optim_wrapper)
    return work.waits


@pytest.mark.parametrize(
    'kind, changes',
    [
        ('ovsam', dict(head=dict(use_label_token=True, loss_cls=FEDERATED))),
        ('sam', {}),
        ('distiller', dict(ignore_padding=False)),
        ('distiller', dict(ignore_padding=True)),
        ('distiller', dict(features='a folder')),
    ],
)
def test_a_step_is_queued_without_waiting(build, make, kind, changes):
    numbers = (4, 0, 3) if kind == 'ovsam' else (3, 2)
    samples = [make.sample(num, training=True, seed=num) for num in numbers]
    if kind == 'ovsam':
        samples[0][1].set_metainfo(dict(source='scenes', neg_labels=(1,)))
        samples[2][1].gt_instances.labels[0] = 2  # novel: it does not count
        samples.append(image_level(make))
    for _, sample in samples if 'features' in changes else ():
        sample.teacher_embedding = encode(torch.randn(32, 6, 6), 'int8')
        sample.set_metainfo(dict(teacher='a fingerprint'))
    assert step(build(kind, **changes), make.batch(*samples)) == []


def test_the_host_waits_after_the_backward_pass_where_losses_and_gradients_are_checked(build, make):
    model = build('ovsam').train().to('meta')
    optim_wrapper = build_optim_wrapper(model, dict(OPTIM, clip_grad=dict(max_norm=1.0)))
    hook = NonFiniteLossHook()
    hook.before_train(SimpleNamespace(model=model, optim_wrapper=optim_wrapper, iter=0))
    data = make.batch(make.sample(3, training=True))
    with other_device() as work:
        model.train_step(data, optim_wrapper)
    # MMEngine reads the norm of the gradients for the log, and from then on nothing is left to do.
    assert work.waits == ['optimizer_wrapper.py:_clip_grad', 'non_finite_loss_hook.py:_decide']


def test_what_waits_is_listed_and_nothing_else():
    x, host = torch.zeros(4, 3, device='meta'), torch.tensor([0, 1])
    waits = [
        lambda: x.sum().item(),
        lambda: bool(x.any()),
        lambda: host.to('meta'),
        lambda: x.copy_(torch.zeros(4, 3)),
        lambda: x[host],
        lambda: x[[0, 1]],
        lambda: x[np.array([0, 1])],
        lambda: torch.tensor([1.0], device='meta'),
        lambda: x.new_tensor(1.0),
        lambda: torch.as_tensor([1.0], device='meta'),
        lambda: x.nonzero(),
        lambda: x[x > 0],
        lambda: x.cpu(),
    ]
    with other_device() as work:
        for wait in waits:
            wait()
        host.to('meta', non_blocking=True)
        x[torch.zeros(2, dtype=torch.long, device='meta')]
        host[host > 0].tolist()
    assert work.waits == ['test_training_without_waiting.py:<lambda>'] * len(waits)
    with pytest.raises((RuntimeError, NotImplementedError)), other_device():
        x.unique()  # what depends on values in another way
