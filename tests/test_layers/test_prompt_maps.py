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


def test_rows_are_y_and_columns_are_x():
    (coverage,) = box_coverage(torch.tensor([[1.0, 2.0, 4.0, 3.5]]), 5, 1.0)
    want = torch.zeros(5, 5)
    want[2, 1:4], want[3, 1:4] = 1.0, 0.5
    assert torch.equal(coverage, want)


def test_no_box_and_empty_and_inverted_and_distant_ones_cover_nothing():
    bboxes = torch.tensor(
        [[torch.nan] * 4, [3.0, 3.0, 3.0, 5.0], [5.0, 1.0, 2.0, 4.0], [90.0, 90.0, 95.0, 99.0]]
    )
    assert torch.equal(box_coverage(bboxes, 8, 1.0), torch.zeros(4, 8, 8))


@pytest.mark.parametrize('with_box, with_mask', [(True, False), (False, True), (True, True)])
def test_what_is_missing_is_zero_and_the_rest_as_alone(with_box, with_mask):
    bboxes = torch.tensor([[1.0, 1.0, 6.0, 4.0], [torch.nan] * 4]) if with_box else None
    mask = torch.randn(2, 1, 8, 8) if with_mask else None
    maps = prompt_maps(bboxes, mask, 2, 8, 1.0)
    assert maps.shape == (2, 2, 8, 8)
    assert prompt_maps(None, None, 2, 8, 1.0) is None
    zeros = torch.zeros(2, 8, 8)
    assert torch.equal(maps[:, 0], box_coverage(bboxes, 8, 1.0) if with_box else zeros)
    assert torch.equal(maps[:, 1], (mask[:, 0] / 2).tanh() if with_mask else zeros)


def test_masks_of_another_size_are_resized_before_they_are_bounded():
    mask = 20 * torch.randn(2, 1, 4, 4)
    (got,) = prompt_maps(None, mask, 2, 8, 1.0)[:, 1:].unbind(1)
    want = F.interpolate(mask, (8, 8), mode='bilinear', align_corners=False)[:, 0]
    assert torch.equal(got, (want / 2).tanh())
    assert got.abs().max() <= 1
