"""CLIP's attention pooling of regions."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from mmcv.ops import roi_align
from open_clip.modified_resnet import AttentionPool2d

from mmovsam.layers import attention_pool_boxes, attention_pool_regions

PLACE = st.integers(-40, 400).map(lambda place: place / 2 + 1 / 7)


def random_pool(side):
    torch.manual_seed(0)
    pool = AttentionPool2d(side, 24, 6, 20).double().eval()
    for parameter in pool.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return pool


def pooled_of_samples(pool, features, bboxes, scale):
    side = round((len(pool.positional_embedding) - 1) ** 0.5)
    rois = torch.cat((bboxes.new_zeros(len(bboxes), 1), bboxes), dim=1)
    return pool(roi_align(features, rois, (side, side), scale, 0, 'avg', True))


@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    side=st.integers(1, 5),
    bboxes=st.lists(st.tuples(PLACE, PLACE, PLACE, PLACE), min_size=1, max_size=4),
)
def test_boxes_and_regions_are_pooled_as_open_clip_does_also_at_edges_outside_and_empty(
    height, width, side, bboxes
):
    features = torch.randn(1, 24, height, width, dtype=torch.float64)
    bboxes = torch.tensor(bboxes, dtype=torch.float64)
    bboxes = torch.cat((bboxes[:, :2], bboxes[:, 2:].maximum(bboxes[:, :2])), dim=1)
    pool = random_pool(side)
    with torch.no_grad():
        found = attention_pool_boxes(pool, features, bboxes, 1 / 32)
        assert torch.allclose(found, pooled_of_samples(pool, features, bboxes, 1 / 32), atol=1e-9)
        assert attention_pool_boxes(pool, features, bboxes[:0], 1 / 32).shape == (0, 20)
        regions = torch.randn(len(bboxes), 24, side, side, dtype=torch.float64)
        assert torch.allclose(attention_pool_regions(pool, regions), pool(regions), atol=1e-9)
        assert attention_pool_regions(pool, regions[:0]).shape == (0, 20)


def test_pooled_boxes_train_the_map_and_the_pool():
    pool = random_pool(3)
    features = torch.randn(1, 24, 6, 8, requires_grad=True, dtype=torch.float64)
    bboxes = torch.tensor([[3.0, 5, 200, 180], [-10, 0, 40, 300]]).double()
    trained = [features, *(p for p in pool.parameters() if p is not pool.k_proj.bias)]
    ours, theirs = (
        torch.autograd.grad((pooled * pooled.detach().cos()).sum(), trained)
        for pooled in (
            attention_pool_boxes(pool, features, bboxes, 1 / 32),
            pooled_of_samples(pool, features, bboxes, 1 / 32),
        )
    )
    assert all(torch.allclose(a, b, atol=1e-8) for a, b in zip(ours, theirs))
