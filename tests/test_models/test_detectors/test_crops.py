"""Crops for CLIP: what they show and in which form."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from open_clip import image_transform
from PIL import Image

from mmovsam.models.detectors.crops import CLIP_MEAN, MaskCropper, crop_windows

PLAIN = dict(mean=(0, 0, 0), std=(255, 255, 255))  # crops as they are, from 0 to 1
CORNER = st.integers(0, 40)
SIDE = st.integers(1, 40)


def picture(height=30, width=40):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def mask_of(x1, y1, x2, y2, height=30, width=40):
    mask = torch.zeros(1, height, width, dtype=torch.bool)
    mask[:, y1:y2, x1:x2] = True
    return mask


@given(x=CORNER, y=CORNER, width=SIDE, height=SIDE)
def test_window_is_the_box_unless_more_is_wanted(x, y, width, height):
    bboxes = torch.tensor([[x, y, x + width, y + height]])
    assert torch.equal(crop_windows(bboxes, margin=0, square=False), bboxes)


@given(
    x=CORNER,
    y=CORNER,
    width=SIDE,
    height=SIDE,
    margin=st.sampled_from([0, 0.1, 0.25, 1]),
    square=st.booleans(),
)
def test_window_grows_around_the_box_by_its_longer_side(x, y, width, height, margin, square):
    bboxes = torch.tensor([[x, y, x + width, y + height]])
    x1, y1, x2, y2 = crop_windows(bboxes, margin, square)[0].tolist()
    longer = max(width, height)
    wanted = (longer, longer) if square else (width, height)
    for low, high, first, side, want in zip((x1, y1), (x2, y2), (x, y), (width, height), wanted):
        assert abs(high - low - (want + 2 * margin * longer)) <= 0.5
        # as much on one side as on the other, to the pixel
        assert abs((first - low) - (high - first - side)) <= 1
        assert low <= first and high >= first + side


def test_crop_of_clips_size_shows_the_pixels_of_the_box():
    image = picture()
    crop = MaskCropper((8, 8), **PLAIN)(image, mask_of(3, 5, 11, 13))
    want = torch.from_numpy(image[5:13, 3:11].transpose(2, 0, 1)) / 255
    assert crop.shape == (1, 3, 8, 8)
    assert torch.allclose(crop[0], want)


def test_crop_is_resized_and_normalized_as_open_clip_does_with_pictures():
    image = picture()
    crop = MaskCropper((16, 16))(image, mask_of(0, 4, 40, 25))
    clip_transform = image_transform(16, is_train=False, resize_mode='squash')
    want = clip_transform(Image.fromarray(np.ascontiguousarray(image[4:25])))
    assert torch.allclose(crop[0], want, atol=1e-6)


def test_square_crop_keeps_proportions_and_ends_in_the_mean_color_beyond_the_image():
    image = picture()
    cropper = MaskCropper((40, 40), square=True, mean=(10, 20, 30), std=(255, 255, 255))
    crop = cropper(image, mask_of(0, 0, 40, 30))[0]
    mean = torch.tensor([10.0, 20, 30])[:, None, None]
    want = torch.from_numpy(image.transpose(2, 0, 1)) - mean
    assert torch.allclose(crop[:, 5:35] * 255, want, atol=1e-3)  # 30 rows, centered in 40
    assert crop[:, :5].abs().max() < 1e-6 and crop[:, 35:].abs().max() < 1e-6


def test_margin_shows_the_surroundings():
    image = picture()
    crop = MaskCropper((20, 20), margin=0.5, **PLAIN)(image, mask_of(15, 10, 25, 20))
    want = torch.from_numpy(image[5:25, 10:30].transpose(2, 0, 1)) / 255
    assert torch.allclose(crop[0], want)


def test_empty_mask_stands_for_the_whole_image():
    cropper = MaskCropper((8, 8))
    image, nothing = picture(), torch.zeros(1, 30, 40, dtype=torch.bool)
    assert torch.equal(cropper(image, nothing), cropper(image, ~nothing))
    assert not nothing.any()  # it stays as it was given


def test_each_mask_has_its_own_crop():
    image = picture()
    masks = torch.cat([mask_of(0, 0, 9, 9), mask_of(4, 4, 5, 30), mask_of(39, 0, 40, 1)])
    cropper = MaskCropper((8, 8), margin=0.2, square=True)
    together = cropper(image, masks)
    assert torch.equal(together, torch.cat([cropper(image, mask[None]) for mask in masks]))


def test_mean_and_deviation_are_clips_own_by_default():
    image = np.empty((9, 9, 3), np.uint8)
    image[:] = np.round(CLIP_MEAN)
    crop = MaskCropper((8, 8))(image, torch.ones(1, 9, 9, dtype=torch.bool))
    assert crop.abs().max() < 0.5 / 66
    assert tuple(round(value) for value in CLIP_MEAN) == (123, 117, 104)


def test_negative_margin_is_refused():
    with pytest.raises(ValueError, match='margin of a crop must be at least 0, not -0.1'):
        MaskCropper((8, 8), margin=-0.1)


def test_masks_of_another_size_than_the_image_are_refused():
    with pytest.raises(ValueError, match='40x30 pixels and its masks 20x30'):
        MaskCropper((8, 8))(picture(), torch.ones(1, 30, 20, dtype=torch.bool))
