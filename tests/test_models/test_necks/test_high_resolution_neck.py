"""Fine maps for the mask decoder."""

import torch
from mmdet.registry import MODELS

IN_CHANNELS = [4, 6, 8, 10]
SETTINGS = dict(in_channels=IN_CHANNELS, channels=[2, 3, 5, 5], out_channels=[2, 4])


def build(**settings):
    torch.manual_seed(0)
    return MODELS.build(dict(type='HighResolutionNeck', **{**SETTINGS, **settings}))


def stages(batch=2):
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randn(batch, c, 32 >> level, 48 >> level, generator=generator)
        for level, c in enumerate(IN_CHANNELS)
    ]


def test_maps_come_out_from_fine_to_coarse_at_the_sizes_of_the_finest_stages():
    maps = build()(stages())
    assert [tuple(each.shape) for each in maps] == [(2, 2, 32, 48), (2, 4, 16, 24)]


def test_coarse_stages_change_fine_maps_and_not_the_reverse():
    neck, given = build(), stages()
    fine, coarse = neck(given)
    for level in range(len(given)):
        changed = list(given)
        changed[level] = changed[level] + 1
        got_fine, got_coarse = neck(changed)
        assert (got_fine - fine).abs().max() > 1e-3
        assert torch.equal(got_coarse, coarse) == (level == 0)


def test_gradients_reach_every_parameter():
    neck = build()
    sum(each.square().sum() for each in neck(stages())).backward()
    for name, parameter in neck.named_parameters():
        assert parameter.grad.abs().sum() > 0, name
