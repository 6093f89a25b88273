"""Names of regions from several views of them."""

import pytest
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS


def build(**settings):
    torch.manual_seed(0)
    return MODELS.build(
        dict(type='RegionNamer', embed_dim=8, region_channels=6, hidden=16, **settings)
    )


def regions(num=5):
    corners = torch.rand(num, 2, 2).sort(1).values.flatten(1) * 128
    return torch.randn(num, 8), torch.randn(num, 6), corners


def taught():
    """A namer whose last layer is no longer zero."""
    namer = build()
    torch.nn.init.normal_(namer.lin2.weight)
    return namer


@pytest.mark.parametrize('training', [False, True])
def test_untrained_it_says_what_the_tower_says(training):
    embeddings, means, bboxes = regions()
    got = build().train(training)(embeddings, means, bboxes, 128)
    assert torch.allclose(got, F.normalize(embeddings, dim=1), atol=1e-6)


def test_trained_it_reads_all_views_and_each_regions_own():
    namer, given = taught().eval(), regions()
    plain = namer(*given, 128)
    assert torch.allclose(plain.norm(dim=1), torch.ones(5))
    for view in range(3):
        changed = [each.clone() for each in given]
        changed[view][2] = changed[view][2] * torch.linspace(0.3, 0.9, changed[view].shape[1])
        got = namer(*changed, 128)
        others = torch.arange(5) != 2
        assert torch.equal(got[others], plain[others])
        assert (got[2] - plain[2]).abs().max() > 1e-3


def test_scale_of_the_views_does_not_matter_but_the_place_in_the_input_does():
    namer, (embeddings, means, bboxes) = taught().eval(), regions()
    plain = namer(embeddings, means, bboxes, 128)
    assert torch.allclose(namer(3 * embeddings, 7 * means, bboxes, 128), plain, atol=1e-5)
    assert torch.allclose(namer(embeddings, means, 2 * bboxes, 256), plain, atol=1e-5)
    assert not torch.allclose(namer(embeddings, means, bboxes, 256), plain, atol=1e-3)
