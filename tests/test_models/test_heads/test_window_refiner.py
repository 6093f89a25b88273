"""The second look at objects, in windows of their own."""

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.registry import init_default_scope

from mmovsam.models.heads import WindowPrompts, paste_windows
from mmovsam.models.heads.window_refiner import (
    MIN_WINDOW,
    WINDOW,
    read_windows,
    read_windows_of_each,
    window_grid,
    windows_of,
)

SIZE = 128
SEED = 4


def build(**settings):
    init_default_scope('mmdet')
    torch.manual_seed(0)
    config = dict(
        type='WindowRefiner',
        region_channels=6,
        stage4_channels=10,
        high_res_channels=[2, 3, 4],
        channels=[16, 8, 8],
        depth=2,
        num_heads=2,
    )
    return MODELS.build({**config, **settings}).eval()


def maps():
    """The last map, region maps at strides 8, 16, 32, and fine ones at 2, 4, 8."""
    generator = torch.Generator().manual_seed(1)

    def normal(channels, stride):
        return torch.randn(1, channels, SIZE // stride, SIZE // stride, generator=generator)

    regions = [normal(6, stride) for stride in (8, 16, 32)]
    fine = [normal(channels, stride) for channels, stride in ((2, 2), (3, 4), (4, 8))]
    return normal(10, 32), regions, fine


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


def test_windows_are_around_the_centers_of_boxes_and_never_tiny():
    windows = windows_of(BBOXES)
    center = (BBOXES[:, :2] + BBOXES[:, 2:]) / 2
    assert torch.allclose((windows[:, :2] + windows[:, 2:]) / 2, center)
    extent = windows[:, 2:] - windows[:, :2]
    assert torch.allclose(extent[0], WINDOW * torch.tensor([50.0, 60.0]))
    assert extent[2].tolist() == [MIN_WINDOW] * 2


def test_grid_has_the_centers_of_a_windows_positions():
    (grid,) = window_grid(torch.tensor([[10.0, 20.0, 18.0, 36.0]]), 4)
    assert grid[0, :, 0].tolist() == [11, 13, 15, 17]
    assert grid[:, 0, 1].tolist() == [22, 26, 30, 34]


def test_maps_are_read_at_pixels_of_the_input():
    # a map that says where it is
    centers = (torch.arange(32) + 0.5) * 4
    here = torch.stack(torch.meshgrid(centers, centers, indexing='xy'))[None]
    windows = torch.tensor([[20.0, 30.0, 90.0, 70.0], [5.0, 5.0, 21.0, 21.0]])
    places = window_grid(windows, 16)
    want = places.permute(0, 3, 1, 2)
    assert torch.allclose(read_windows(here, places, SIZE), want, atol=1e-3)
    each = read_windows_of_each(here.repeat(2, 1, 1, 1), places, SIZE)
    assert torch.allclose(each, want, atol=1e-3)


def test_pasting_inverts_reading():
    print('seed', SEED)
    value = smooth(len(BBOXES))
    windows = windows_of(BBOXES)
    near = value(*window_grid(windows, 64).unbind(-1))[:, None]
    size = 64
    pasted = paste_windows(near, windows, size, SIZE)
    centers = (torch.arange(size) + 0.5) * (SIZE / size)
    x, y = torch.meshgrid(centers, centers, indexing='xy')
    want = value(x[None], y[None])[:, None]
    low, high = windows[:, None, None, :2], windows[:, None, None, 2:]
    places = torch.stack((x, y), dim=-1)[None]
    inside = ((places >= low) & (places <= high)).all(-1)[:, None]
    assert inside.flatten(1).any(1).all()
    # within half of a position of the edge the outermost value is taken
    assert (pasted - want)[inside].abs().max() < 0.3
    assert (pasted[~inside] == -10).all()


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
def test_object_gets_alone_what_it_gets_among_others():
    refiner, (stage4, regions, fine), given = build(), maps(), prompts(BBOXES)
    together = refiner(stage4, regions, fine, given, SIZE)
    assert [tuple(each.shape) for each in together] == [(4, 1, 64, 64), (4,), (4, 4)]
    for i in range(len(BBOXES)):
        own = WindowPrompts(*(part[i : i + 1] for part in given))
        for got, want in zip(refiner(stage4, regions, fine, own, SIZE), together):
            assert torch.allclose(got, want[i : i + 1], atol=1e-5)


@torch.no_grad()
def test_every_map_and_every_part_of_a_prompt_counts():
    refiner, (stage4, regions, fine), given = build(), maps(), prompts(BBOXES[:1])
    plain = refiner(stage4, regions, fine, given, SIZE)[0]
    changes = [(torch.zeros_like(stage4), regions, fine, given)]
    for level in range(3):
        for kind, levels in enumerate((regions, fine)):
            changed = list(levels)
            changed[level] = torch.zeros_like(changed[level])
            new = (changed, fine) if kind == 0 else (regions, changed)
            changes.append((stage4, *new, given))
    for part in (
        dict(bboxes=given.bboxes + 2),
        dict(given=~given.given),
        dict(points=given.points + 5),
        dict(labels=1 - given.labels),
        dict(labels=-torch.ones_like(given.labels)),
        dict(previous=-given.previous),
    ):
        changes.append((stage4, regions, fine, given._replace(**part)))
    for change in changes:
        assert (refiner(*change, SIZE)[0] - plain).abs().max() > 1e-4


@torch.no_grad()
def test_padding_points_do_not_count_wherever_they_are():
    refiner, given = build(), prompts(BBOXES)
    extra = given._replace(
        points=torch.cat((given.points, given.points - 9), dim=1),
        labels=torch.cat((given.labels, -torch.ones_like(given.labels)), dim=1),
    )
    want = refiner(*maps(), given, SIZE)[0]
    assert torch.allclose(refiner(*maps(), extra, SIZE)[0], want, atol=1e-5)
    none = given._replace(points=given.points[:, :0], labels=given.labels[:, :0])
    padded = given._replace(labels=-torch.ones_like(given.labels))
    want = refiner(*maps(), padded, SIZE)[0]
    assert torch.allclose(refiner(*maps(), none, SIZE)[0], want, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(
    'bbox', [[500, 500, 600, 600], [-90, -90, -50, -60], [-900, -900, 900, 900], [64, 64, 64, 64]]
)
def test_prompts_outside_of_the_image_have_finite_masks(bbox):
    given = prompts(torch.tensor([bbox], dtype=torch.float32))
    logits, quality, windows = build()(*maps(), given, SIZE)
    pasted = paste_windows(logits, windows, 64, SIZE)
    assert all(each.isfinite().all() for each in (logits, quality, pasted))
    if bbox[0] == 500:
        assert (pasted == -10).all()


@torch.no_grad()
def test_no_objects_have_no_masks():
    logits, quality, windows = build()(*maps(), prompts(BBOXES[:0]), SIZE)
    assert (len(logits), len(quality), len(windows)) == (0, 0, 0)
    assert paste_windows(logits, windows, 32, SIZE).shape == (0, 1, 32, 32)


def test_gradients_reach_every_parameter():
    refiner = build().train()
    logits, quality, _ = refiner(*maps(), prompts(BBOXES), SIZE)
    (logits.square().mean() + quality.sum()).backward()
    for name, parameter in refiner.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize('frozen', [False, True])
def test_only_a_frozen_refiner_has_no_gradients(frozen):
    assert {p.requires_grad for p in build(frozen=frozen).parameters()} == {not frozen}
