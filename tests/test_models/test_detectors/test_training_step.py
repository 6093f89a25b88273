"""One step of every stage, through the optimizer that the Runner would build."""

import pytest
import torch
from mmengine.optim import build_optim_wrapper

OPTIM = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-2, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    clip_grad=dict(max_norm=1.0),
)
FROZEN = dict(
    ovsam=('backbone.', 'neck.', 'prompt_encoder.', 'head.label_mlp.'),
    # its mask branch and its random projection
    sam=('prompt_encoder.mask_downscaling.', 'prompt_encoder.pe_layer.'),
    distiller=('backbone.', 'teacher.', 'neck.pos_embed'),
)
LOSSES = dict(
    ovsam={'loss_mask', 'loss_dice', 'loss_cls', 'acc'},
    sam={'loss_mask', 'loss_dice'},
    distiller={'loss_distill'},
)
# Their gradient is zero in this step and nothing decays them: all regions of a picture so small are
# on the first level.
MAY_STAY = (
    *(f'region_neck.fpn_convs.{level}.conv.bias' for level in (1, 2, 3)),
    # softmax does not see a bias of the keys
    'head.mask_decoder.transformer.layers.0.cross_attn_token_to_image.k_proj.bias',
    'head.mask_decoder.transformer.layers.1.cross_attn_token_to_image.k_proj.bias',
    'head.mask_decoder.transformer.final_attn_token_to_image.k_proj.bias',
)


def step(model, make):
    optim_wrapper = build_optim_wrapper(model, OPTIM)
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    losses = model.train_step(make.batch(make.sample(4, training=True)), optim_wrapper)
    after = model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    return changed, losses, optim_wrapper


@pytest.mark.parametrize('kind', ['sam', 'distiller', 'ovsam'])
def test_one_step_changes_what_trains_and_nothing_else(build, make, kind):
    model = build(kind)
    changed, losses, optim_wrapper = step(model, make)
    assert torch.isfinite(losses['loss']) and set(losses) == {'loss', *LOSSES[kind]}
    assert [name for name in sorted(changed) if name.startswith(FROZEN[kind])] == []
    stayed = set(model.state_dict()) - changed
    assert [n for n in sorted(stayed) if not n.startswith((*FROZEN[kind], *MAY_STAY))] == []

    names = {id(parameter): name for name, parameter in model.named_parameters()}
    with_state = {names[id(parameter)] for parameter in optim_wrapper.optimizer.state}
    assert not any(name.endswith('running_mean') for name in changed)
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    assert with_state == trainable
    assert not any(name.startswith(FROZEN[kind]) for name in trainable)
    assert all(p.grad is None for p in model.parameters() if not p.requires_grad)
