"""Masks in windows around objects."""

import pytest
import torch
from mmdet.registry import MODELS

from mmovsam.layers.windows import (
    MIN_WINDOW,
    WINDOW,
    cut_off,
    paste_windows,
    read_windows,
    read_windows_of_each,
    window_grid,
    windows_of,
)
from mmovsam.models.heads import WindowPrompts
from mmovsam.models.heads.mask_ranker import best_different

SIZE = 128
SEED = 4


def build(**settings):
    torch.manual_seed(0)
    small = dict(in_channels=[2, 3, 4, 7, 10], channels=[16, 8, 8], depth=2, num_heads=2)
    config = dict(type='WindowDecoder', image_size=SIZE, **small)
    return MODELS.build({**config, **settings}).eval()


def maps():
    """Of strides 2 to 32."""
    generator = torch.Generator().manual_seed(1)
    sides = [SIZE // stride for stride in (2, 4, 8, 16, 32)]
    return tuple(
        torch.randn(1, channels, side, side, generator=generator)
        for channels, side in zip((2, 3, 4, 7, 10), sides)
    )


def prompts(bboxes):
    """Boxes as prompts, with a click of each kind and an earlier mask."""
    count, generator = len(bboxes), torch.Generator().manual_seed(2)
    center = (bboxes[:, None, :2] + bboxes[:, None, 2:]) / 2
    return WindowPrompts(
        bboxes,
        torch.arange(count) % 2 == 0,
        torch.cat((center, center + 3), dim=1),
        torch.tensor([[1, 0]]).repeat(count, 1),
        torch.randn(count, 1, SIZE // 2, SIZE // 2, generator=generator),
    )


BBOXES = torch.tensor(
    [[20.0, 30, 70, 90], [0, 0, 128, 128], [100, 100, 103, 102], [-40, 50, 20, 140]]
)


def smooth(num):
    """Soft masks without edges: their values `(N, g, g)` at x and y in pixels."""
    generator = torch.Generator().manual_seed(SEED)
    waves = torch.rand(num, 3, generator=generator) * 0.08 + 0.02

    def value(x, y):
        shift = waves[:, :, None, None]
        return 4 * (shift[:, 0] * x + 1).sin() * (shift[:, 1] * y + shift[:, 2] * 40).cos()

    return value


def test_windows_are_around_boxes_never_tiny_and_maps_are_read_at_pixels_of_the_input():
    around = windows_of(BBOXES)
    assert torch.allclose(around[:, :2] + around[:, 2:], BBOXES[:, :2] + BBOXES[:, 2:])
    extent = around[:, 2:] - around[:, :2]
    assert torch.allclose(extent[0], WINDOW * torch.tensor([50.0, 60.0]))
    assert extent[2].tolist() == [MIN_WINDOW] * 2
    # a map that says where it is
    centers = (torch.arange(32) + 0.5) * 4
    here = torch.stack(torch.meshgrid(centers, centers, indexing='xy'))[None]
    windows = torch.tensor([[20.0, 30.0, 90.0, 70.0], [5.0, 5.0, 21.0, 21.0]])
    places = window_grid(windows, 16)
    want = places.permute(0, 3, 1, 2)
    assert torch.allclose(read_windows(here, places, SIZE), want, atol=1e-3)
    each = read_windows_of_each(here.repeat(2, 1, 1, 1), places, SIZE)
    assert torch.allclose(each, want, atol=1e-3)


def test_mask_that_is_pasted_and_read_again_is_the_same():
    print('seed', SEED)
    value = smooth(2)
    windows = windows_of(torch.tensor([[20.0, 30, 70, 90], [40.0, 40, 100, 80]]))
    places = window_grid(windows, 64)
    near = value(*places.unbind(-1))[:, None]
    again = read_windows_of_each(paste_windows(near, windows, SIZE, SIZE), places, SIZE)
    middle = slice(2, -2)
    assert (again - near)[..., middle, middle].abs().max() < 0.1


@torch.no_grad()
def test_every_map_and_every_part_of_a_prompt_counts():
    decoder, features, given = build(), maps(), prompts(BBOXES[:1])
    plain = decoder(features, given)[0]
    changes = []
    for level in range(5):
        changed = list(features)
        changed[level] = torch.zeros_like(changed[level])
        changes.append((changed, given))
    for part in (
        dict(bboxes=given.bboxes + 2),
        dict(given=~given.given),
        dict(points=given.points + 5),
        dict(labels=1 - given.labels),
        dict(labels=-torch.ones_like(given.labels)),
        dict(previous=-given.previous),
    ):
        changes.append((features, given._replace(**part)))
    for change in changes:
        assert (decoder(*change)[0] - plain).abs().max() > 1e-4


@torch.no_grad()
@pytest.mark.parametrize(
    'bbox', [[500, 500, 600, 600], [-90, -90, -50, -60], [-900, -900, 900, 900], [64, 64, 64, 64]]
)
def test_prompts_outside_of_the_image_have_finite_masks(bbox):
    given = prompts(torch.tensor([bbox], dtype=torch.float32))
    logits, quality, windows = build()(maps(), given)
    pasted = paste_windows(logits, windows, 64, SIZE)
    assert all(each.isfinite().all() for each in (logits, quality, pasted))
    if bbox[0] == 500:
        assert (pasted == -10).all()


@torch.no_grad()
def test_untrained_decoder_begins_with_the_earlier_mask_or_an_ellipse():
    decoder, given = build(), prompts(BBOXES[:2])
    decoder.mask.weight.zero_(), decoder.mask.bias.zero_()
    earlier = torch.full_like(given.previous, -6.0)
    earlier[:, :, 20:40, 15:30] = 6.0
    logits, _, windows = decoder(maps(), given._replace(previous=earlier))
    want = read_windows_of_each(earlier, window_grid(windows, 64), SIZE)
    assert torch.equal(logits > 0, want > 0)
    logits, _, windows = decoder(maps(), given._replace(previous=0 * earlier))
    area = (logits > 0).sum((1, 2, 3)) / 64**2 * (windows[:, 2:] - windows[:, :2]).prod(1)
    boxes = (BBOXES[:2, 2:] - BBOXES[:2, :2]).prod(1)
    assert torch.allclose(area / boxes, torch.full((2,), torch.pi / 4), atol=0.02)


POINTS = torch.tensor([[[60.0, 50.0]], [[9.0, 99.0]]]), torch.ones(2, 1)


@torch.no_grad()
def test_masks_of_a_point_are_those_of_its_windows_ranked():
    points = torch.tensor([[[20.0, 40.0], [40.0, 60.0], [100.0, 100.0], [3.0, 3.0]]])
    boxes = build(point_sizes=(0.125, 0.5)).guesses(points, torch.tensor([[1, 1, 0, -1]]))
    assert boxes.tolist() == [[[22, 42, 38, 58], [-2, 18, 62, 82]]]  # around the foreground
    decoder = build()
    torch.manual_seed(SEED)
    torch.nn.init.normal_(decoder.ranker.correction.weight)
    masks, ious = decoder.segment_points(maps(), *POINTS, 3)
    assert masks.shape == (2, 3, SIZE, SIZE) and ious.shape == (2, 3)
    points, labels = (part.repeat_interleave(4, 0) for part in POINTS)
    boxes, no = decoder.guesses(*POINTS).flatten(0, 1), torch.zeros(8, dtype=torch.bool)
    none = torch.zeros(8, 1, SIZE, SIZE)
    looks, alone = decoder.segment(maps(), WindowPrompts(boxes, no, points, labels, none))
    looks = looks[:, 0].unflatten(0, (2, 4))
    logits, quality, _, proposed = decoder.propose(maps(), *POINTS)
    assert torch.allclose(quality.flatten(), alone, atol=1e-5)
    ranked = decoder.ranker(proposed, quality, logits)
    assert (ranked - quality).abs().max() > 0.1
    best = best_different(proposed, ranked, 3)
    for row in range(2):
        assert torch.allclose(masks[row], looks[row, best[row]], atol=1e-4)
        assert torch.allclose(ious[row], ranked[row, best[row]])
    one, _ = decoder.segment_points(maps(), *POINTS)
    assert torch.allclose(one, masks[:, :1], atol=1e-4)


@torch.no_grad()
def test_first_of_several_masks_is_what_is_prompted():
    decoder, given = build(), prompts(BBOXES)
    masks, quality = decoder.segment_windows(maps(), given, 3)
    one, its_quality = decoder.segment_windows(maps(), given)
    assert masks.shape == (4, 3, 128, 128) and torch.equal(masks[:, :1], one)
    assert torch.equal(quality[:, :1], its_quality)
    assert (masks[:, 1:] - one).abs().amax((1, 2, 3)).min() > 1e-3


def test_best_masks_differ_where_they_can():
    masks = torch.full((2, 4, 64, 64), -1.0)
    masks[0, 0, :30, :30] = masks[0, 1, :30, :31] = masks[0, 2, 40:, 40:] = masks[0, 3, :9, :9] = 1
    masks[1, :, 5:50, 5:50] = 1  # four times the same
    quality = torch.tensor([[0.8, 0.9, 0.3, 0.5], [0.1, 0.4, 0.2, 0.3]])
    assert best_different(masks, quality, 1).tolist() == [[1], [1]]
    assert best_different(masks, quality, 3).tolist() == [[1, 3, 2], [1, 3, 2]]
    assert best_different(masks, quality, 4).tolist() == [[1, 3, 2, 0], [1, 3, 2, 0]]


def test_masks_are_cut_off_where_they_meet_a_side_inside_of_the_input():
    logits = torch.full((4, 1, 64, 64), -1.0)
    logits[:, :, 20:60, :] = 1  # from the left to the right side
    windows = [[0, 20, 128, 100], [-9, 20, 140, 100], [10, 20, 128, 100], [0, 20, 90, 100]]
    assert cut_off(logits, torch.tensor(windows), SIZE).tolist() == [False, False, True, True]
    logits[:, :, :, :9] = logits[:, :, :, -9:] = -1
    assert not cut_off(logits, torch.tensor(windows), SIZE).any()
