"""The SAM2CLIP adapter."""

import pytest
import torch
from mmdet.registry import MODELS


def build(**settings):
    torch.manual_seed(0)
    small = dict(in_channels=(4, 8, 12, 16), embed_dim=16, num_blocks=3, num_heads=4, window_size=4)
    small.update(out_channels=12, image_size=96, **settings)
    return MODELS.build(dict(type='SAM2CLIPNeck', **small))


def stages(size=96, num=2):
    return [
        torch.randn(num, c, size // s, size // s) for c, s in zip((4, 8, 12, 16), (4, 8, 16, 32))
    ]


def test_recomputed_activations_are_not_kept_and_change_no_gradient():
    results = []
    for with_cp in (False, True):
        neck, maps, kept = build(with_cp=with_cp), stages(), []  # `build` seeds
        keep = torch.autograd.graph.saved_tensors_hooks(
            lambda saved, kept=kept: kept.append(saved.numel()) or saved, lambda saved: saved
        )
        with keep:
            out = neck(maps)
        out.square().sum().backward()
        results.append((out, [p.grad for p in neck.parameters()], sum(kept)))
    (out, gradients, kept), (again, others, fewer) = results
    assert torch.equal(out, again)
    assert all(torch.equal(a, b) for a, b in zip(gradients, others))
    assert fewer < kept / 2


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match='built for 96x96 pixels and got maps of 64x64'):
        build()(stages(64))
    with pytest.raises(ValueError, match='4 in_channels but 2 strides'):
        build(strides=(4, 8))
