"""Crops for CLIP: what they show and in which form."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from open_clip import image_transform
from PIL import Image

from mmovsam.models.detectors.crops import MaskCropper, crop_windows

CORNER = st.integers(0, 40)
SIDE = st.integers(1, 40)


def picture(height=30, width=40):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def mask_of(x1, y1, x2, y2, height=30, width=40):
    mask = torch.zeros(1, height, width, dtype=torch.bool)
    mask[:, y1:y2, x1:x2] = True
    return mask


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
        assert abs(high - low - (want + 2 * margin * longer)) <= 0.5 * (margin > 0)
        # as much on one side as on the other, to the pixel
        assert abs((first - low) - (high - first - side)) <= 1
        assert low <= first and high >= first + side


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


def test_empty_mask_stands_for_the_whole_image():
    cropper = MaskCropper((8, 8))
    image, nothing = picture(), torch.zeros(1, 30, 40, dtype=torch.bool)
    assert torch.equal(cropper(image, nothing), cropper(image, ~nothing))
    assert not nothing.any()  # it stays as it was given


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match='margin of a crop must be at least 0, not -0.1'):
        MaskCropper((8, 8), margin=-0.1)
    with pytest.raises(ValueError, match='40x30 pixels and its masks 20x30'):
        MaskCropper((8, 8))(picture(), torch.ones(1, 30, 20, dtype=torch.bool))
