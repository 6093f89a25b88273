"""Boxes and masks as maps."""

import pytest
import torch
import torch.nn.functional as F

from mmovsam.layers import box_coverage, prompt_maps

SEED = 3


def random_boxes(num, low, high):
    corners = torch.rand(
        num, 2, 2, generator=torch.Generator().manual_seed(SEED), dtype=torch.double
    )
    corners = (low + (high - low) * corners).sort(1).values
    return corners.flatten(1)


def supersampled(bboxes, size, stride, times=128):
    """Shares of positions in boxes, by counting points of a fine grid."""
    places = (torch.arange(size * times, dtype=bboxes.dtype) + 0.5) * (stride / times)
    low, high = bboxes[:, :2, None], bboxes[:, 2:, None]
    x, y = ((places >= low) & (places < high)).unbind(1)  # (N, size * times)
    fine = (y[:, :, None] & x[:, None]).double()
    return F.avg_pool2d(fine[:, None], times)[:, 0]


@pytest.mark.parametrize('stride', [1.0, 2.5, 4.0])
def test_coverage_is_the_share_of_each_position_in_the_box(stride):
    print('seed', SEED)
    bboxes = random_boxes(12, -6, 6 * stride + 6)
    got = box_coverage(bboxes, 6, stride)
    # a fine grid errs by half of its step along each edge
    assert (got - supersampled(bboxes, 6, stride)).abs().max() < 2 / 128


def test_no_box_and_empty_and_inverted_and_distant_ones_cover_nothing():
    bboxes = torch.tensor(
        [[torch.nan] * 4, [3.0, 3.0, 3.0, 5.0], [5.0, 1.0, 2.0, 4.0], [90.0, 90.0, 95.0, 99.0]]
    )
    assert torch.equal(box_coverage(bboxes, 8, 1.0), torch.zeros(4, 8, 8))


@pytest.mark.parametrize('with_box, side', [(True, None), (False, 8), (True, 8), (True, 4)])
def test_what_is_missing_is_zero_and_masks_are_resized_and_then_bounded(with_box, side):
    bboxes = torch.tensor([[1.0, 1.0, 6.0, 4.0], [torch.nan] * 4]) if with_box else None
    mask = 20 * torch.randn(2, 1, side, side) if side else None
    maps = prompt_maps(bboxes, mask, 2, 8, 1.0)
    assert prompt_maps(None, None, 2, 8, 1.0) is None
    zeros = torch.zeros(2, 8, 8)
    assert torch.equal(maps[:, 0], box_coverage(bboxes, 8, 1.0) if with_box else zeros)
    enlarged = F.interpolate(mask, (8, 8), mode='bilinear')[:, 0] if side else zeros
    assert torch.equal(maps[:, 1], (enlarged / 2).tanh())
