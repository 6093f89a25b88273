"""Regions that are named by a crop of their own too."""

import pytest
import tiny_photo
import torch
import torch.nn.functional as F

from mmovsam.layers.windows import paste_windows, read_windows_of_each, window_grid
from mmovsam.models.detectors.region_crops import (
    RegionCrops,
    crop_windows,
    cut_out,
    embed_crops,
    encode_crops,
)
from mmovsam.models.heads import WindowPrompts
from mmovsam.prompts import Prompts

SIZE = tiny_photo.SIZE
PARTS = dict(tiny_photo.WINDOWS, region_namer=tiny_photo.NAMER)
BBOXES = torch.tensor([[20.0, 30, 60, 50], [0, 0, 128, 128], [100, 5, 104, 9]])


def inputs(seed=0):
    return torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope='module')
def model():
    model = tiny_photo.build(**PARTS, region_crop=64)
    torch.nn.init.normal_(model.region_namer.lin2.weight, std=0.3)
    return model


def test_crops_are_centered_squares_around_the_boxes():
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing='ij')
    where = torch.stack((x + 0.5, y + 0.5, torch.ones(SIZE, SIZE)))[None]
    windows = crop_windows(BBOXES)
    crops = cut_out(where, windows, 32)
    about = RegionCrops((), windows, 32)
    inner = about.inside(BBOXES.unflatten(1, (2, 2))).flatten(1)
    assert torch.allclose(about.outside(inner), BBOXES, atol=1e-3)
    assert crops.shape == (3, 3, 32, 32)
    # 1.6 longer sides, at least 16 pixels
    sides = torch.tensor([64.0, 204.8, 16.0])
    centers = (BBOXES[:, :2] + BBOXES[:, 2:]) / 2
    middle = crops[:, :2, 15:17, 15:17].mean((2, 3))
    assert torch.allclose(middle, centers, atol=0.05)
    step = crops[:, 0, 16, 17] - crops[:, 0, 16, 16]
    assert torch.allclose(step, sides / 32, atol=0.05)
    back = (inner.unflatten(1, (2, 2)) - 16) * (sides / 32)[:, None, None] + centers[:, None]
    assert torch.allclose(back.flatten(1), BBOXES, atol=1e-3)
    assert crops[1, 2, 0].abs().max() == 0 and crops[1, 2, 16, 16] == 1  # beyond the input


@torch.no_grad()
def test_crop_of_the_whole_input_is_embedded_as_the_input_is(model):
    whole = torch.tensor([[24.0, 24, 104, 104]])  # 1.6 times as large: the input
    crops = encode_crops(model, inputs(), whole)
    by_head, by_tower = embed_crops(model, crops, whole)
    half = F.avg_pool2d(inputs(), 2)
    features = model.extract_feat(half)
    want = model.backbone.embed_regions(features.stage4, whole / 2)
    pooled = model.head.pool_regions(features.region_maps, whole / 2)
    assert torch.allclose(by_tower, want, atol=1e-4)
    named = model.region_namer(want, pooled, whole / 2, 64)
    assert torch.allclose(by_head, named, atol=1e-4)


@torch.no_grad()
def test_names_are_the_mean_of_both_looks_and_masks_stay(model):
    features = model.extract_feat(inputs())
    both = model.recognize(features, Prompts(bboxes=BBOXES))
    without = model.recognize(features._replace(inputs=None), Prompts(bboxes=BBOXES))
    crops = embed_crops(model, encode_crops(model, inputs(), BBOXES), BBOXES)
    assert torch.equal(both.low_res_logits, without.low_res_logits)
    for got, whole, crop in zip(both.regions, without.regions, crops):
        want = F.normalize(F.normalize(whole, dim=1) + F.normalize(crop, dim=1), dim=1)
        assert torch.allclose(F.normalize(got, dim=1), want, atol=1e-5)
    assert (both.fused_logits - without.fused_logits).abs().max() > 1e-3
    assert tiny_photo.build(**PARTS).extract_feat(inputs()).inputs is None  # not kept for nothing
    for settings in (dict(region_crop=-1, **PARTS), dict(region_crop=64)):
        with pytest.raises(ValueError, match=f'region_crop is {settings["region_crop"]}'):
            tiny_photo.build(**settings)


@pytest.fixture(scope='module')
def refining():
    """A model that looks at masks once more."""
    return tiny_photo.build(**PARTS, **tiny_photo.CROPS)


@torch.no_grad()
def test_masks_are_those_of_the_second_look(refining):
    features = refining.extract_feat(inputs())
    prompts = Prompts(bboxes=BBOXES)
    both = refining.recognize(features, prompts).low_res_logits
    first = refining.recognize(features._replace(inputs=None), prompts).low_res_logits
    crops = encode_crops(refining, inputs(), BBOXES)
    for row, bbox in enumerate(crops.inside(BBOXES.unflatten(1, (2, 2))).flatten(1)):
        own = RegionCrops(
            tuple(each[row : row + 1] for each in crops.maps), crops.windows[row : row + 1], 64
        )
        places = window_grid(own.windows, 32)
        prompt = WindowPrompts(
            bbox[None],
            torch.ones(1, dtype=torch.bool),
            torch.zeros(1, 1, 2),
            torch.full((1, 1), -1),
            read_windows_of_each(first[row : row + 1], places, SIZE),
        )
        logits, _, windows = refining.crop_decoder(own.maps, prompt)
        again = paste_windows(logits, own.outside(windows), SIZE, SIZE)
        assert torch.allclose(both[row], again[0], atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize('several', [False, True])
def test_prompts_of_all_kinds_are_refined_each_as_it_would_be_alone(refining, several):
    features = refining.extract_feat(inputs())
    mask = torch.full((1, 1, SIZE, SIZE), torch.nan).repeat(3, 1, 1, 1)
    mask[2] = -5.0
    mask[2, :, 40:80, 30:90] = 5.0
    nan = [torch.nan] * 4
    prompts = Prompts(
        bboxes=torch.tensor([[20.0, 30, 60, 50], nan, nan]),
        point_coords=torch.tensor([[[30.0, 40]], [[90, 60]], [[0, 0]]]),
        point_labels=torch.tensor([[1], [1], [-1]]),
        mask_input=mask,
    )
    together = refining.recognize(features, prompts, multimask_output=several).low_res_logits
    count = 3 if several else 1
    assert together.shape == (3 * count, 1, SIZE, SIZE) and together.isfinite().all()
    for row in range(3):
        alone = refining.recognize(features, prompts[[row]], multimask_output=several)
        got = together[row * count : (row + 1) * count]
        assert torch.allclose(got, alone.low_res_logits, atol=1e-3)
    none = refining.recognize(features, Prompts.empty())
    assert none.low_res_logits.shape[0] == 0
