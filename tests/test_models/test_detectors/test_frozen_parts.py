"""Frozen parts in training: they build no graph and keep nothing for a backward pass."""

import pytest
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._pytree import tree_leaves

FROZEN = dict(
    ovsam=('backbone', 'neck', 'prompt_encoder'),
    sam=('prompt_encoder.mask_downscaling',),
    distiller=('backbone', 'teacher'),
)
RUNS = dict(ovsam=FROZEN['ovsam'], sam=(), distiller=FROZEN['distiller'])


@pytest.mark.parametrize('kind', FROZEN)
def test_frozen_parts_build_no_graph_and_keep_nothing(build, make, kind):
    model = build(kind).train()
    running, ran, kept, with_graph = [], [], [], []

    def enter(module, args, name):
        running.append(name)

    def leave(module, args, output, name):
        ran.append(running.pop())
        with_graph.extend(name for tensor in tree_leaves(output) if tensor.requires_grad)

    def keep(tensor):
        kept.extend((name, tuple(tensor.shape)) for name in running)
        return tensor

    for name in FROZEN[kind]:
        part = model.get_submodule(name)
        assert not any(parameter.requires_grad for parameter in part.parameters())
        part.register_forward_pre_hook(lambda *args, name=name: enter(*args, name))
        part.register_forward_hook(lambda *args, name=name: leave(*args, name))
    samples = (make.sample(num, training=True, seed=num) for num in (3, 2))
    data = model.data_preprocessor(make.batch(*samples), True)
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        model(**data, mode='loss')
    assert set(ran) == set(RUNS[kind])
    assert kept == [] and with_graph == []
