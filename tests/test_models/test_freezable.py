"""Parts that are frozen: no gradients, no statistics, no training mode; and those that are not."""

import pytest
import tiny
import torch
from mmdet.registry import MODELS

PARTS = dict(
    tower=tiny.OVSAM['backbone'],
    timm=dict(type='TimmBackbone', model='test_efficientnet', embed_dim=12),
    teacher=tiny.SAM_ENCODER,
    neck=tiny.NECK,
    high_res=dict(type='HighResolutionNeck', in_channels=[4, 6], channels=[2, 3], out_channels=[2]),
    prompts=tiny.OVSAM['prompt_encoder'],
    namer=dict(type='RegionNamer', embed_dim=8, region_channels=6, hidden=16),
)


@pytest.mark.parametrize('kind', PARTS)
def test_only_a_frozen_part_has_no_gradients_and_does_not_train(kind):
    frozen, trained = (MODELS.build({**PARTS[kind], 'frozen': f}).train() for f in (True, False))
    assert not any(module.training for module in frozen.modules())
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    assert trained.training and any(p.requires_grad for p in trained.parameters())
    assert not trained.eval().training


@pytest.mark.parametrize('kind', ['tower', 'timm'])
def test_frozen_tower_keeps_its_statistics_and_builds_no_graph(kind):
    tower = MODELS.build({**PARTS[kind], 'frozen': True}).train()
    before = {name: value.clone() for name, value in tower.state_dict().items()}
    assert not any(m.requires_grad for m in tower(torch.randn(2, 3, 96, 96)))
    assert all(torch.equal(value, before[name]) for name, value in tower.state_dict().items())
