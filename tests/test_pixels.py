"""Images of any depth as three channels of 8 bits."""

import cv2
import numpy as np
import pytest
import tifffile

from mmovsam.apis.image_input import read_image, read_sent_image
from mmovsam.datasets.images import check_image
from mmovsam.pixels import decode_image, to_color

CODES = np.random.default_rng(3).integers(0, 256, (20, 30, 3), dtype=np.uint8)


@pytest.mark.parametrize('dtype', [np.uint16, np.int32, np.int64, np.float32, np.float64])
def test_8_bits_in_a_larger_type_stay_as_they_are(dtype):
    for unit in (1, 256, 257, *([1 / 255] if np.dtype(dtype).kind == 'f' else [])):
        assert np.array_equal(to_color((CODES.astype(float) * unit).astype(dtype)), CODES)


@pytest.mark.parametrize('channels', [0, 1, 2, 3, 4])
def test_gray_and_transparency_give_three_channels(channels):
    image = np.dstack([CODES, CODES])[..., : channels or 1]
    found = to_color(image[..., 0] if channels == 0 else image)
    expected = image[..., :3] if channels > 2 else image[..., :1].repeat(3, axis=2)
    assert np.array_equal(found, expected)


@pytest.mark.parametrize('dtype', [np.uint16, np.int16, np.float32, np.float64])
def test_percentiles_become_black_and_white_and_outliers_do_not_darken(dtype):
    values = np.random.default_rng(4).integers(500, 1500, (50, 60)).astype(dtype) + dtype(1)
    values[0, 0] = 30_000
    found = to_color(values)[..., 0].astype(int)
    low, high = np.percentile(values, (0.5, 99.5))
    assert abs(found[1:] - np.clip((values[1:] - low) / (high - low), 0, 1) * 255).max() <= 0.51
    assert found[0, 0] == 255


@pytest.mark.parametrize('value', [0, 7, 40_000])
def test_an_image_of_one_value_and_a_small_bright_thing_are_images(value):
    values = np.full((50, 60), value, np.uint16)
    assert np.ptp(to_color(values)) == 0
    values[7, 9] = 50_000
    assert np.argwhere(to_color(values)[..., 0] == 255).tolist() == [[7, 9]]


def test_a_range_is_for_more_than_8_bits_only_and_is_checked():
    assert np.array_equal(to_color(CODES, (0, 100)), CODES)
    values = np.array([[0, 1000, 2000, 3000]], np.uint16)
    assert to_color(values, (1000, 2000))[0, :, 0].tolist() == [0, 0, 255, 255]
    for wrong in ((5, 5), (9, 1), (0, np.inf), 7, ('a', 'b'), (1, 2, 3)):
        with pytest.raises(ValueError, match='value_range is'):
            to_color(values, wrong)


@pytest.mark.parametrize('dtype', [np.float16, np.uint32, np.uint8])
def test_tiff_files_that_are_not_read_are_described(tmp_path, dtype):
    channels = 5 if dtype == np.uint8 else 3
    path = tmp_path / 'a.tif'
    tifffile.imwrite(path, np.ones((20, 30, channels), dtype), photometric='minisblack',
                     planarconfig='contig')  # fmt: skip
    bits = 8 * np.dtype(dtype).itemsize
    for read in (check_image, read_image):
        with pytest.raises(ValueError, match=f'TIFF file of {channels} channels of {bits} bits'):
            read(str(path))


def test_colors_of_32_bits_are_read_as_sent_files_too(tmp_path):
    values = CODES.astype(np.float32) / 255
    values[0, 0] = np.nan
    tifffile.imwrite(tmp_path / 'a.tif', values, photometric='rgb')
    data = (tmp_path / 'a.tif').read_bytes()
    assert np.array_equal(read_sent_image(data, 'a', 10**6)[1:], CODES[1:])
    with pytest.raises(ValueError, match='30x20 pixels; the limit here'):
        read_sent_image(data, 'a', 100)


@pytest.mark.parametrize('dtype', [np.uint16, np.float32, np.float64, np.int32])
@pytest.mark.parametrize('channels', [1, 3])
def test_tiff_files_of_any_depth_are_read_and_pass_the_check(tmp_path, dtype, channels):
    values = np.random.default_rng(5).integers(0, 4096, (20, 30, channels)).astype(dtype)
    path = tmp_path / 'a.tif'
    cv2.imwrite(str(path), values)
    assert check_image(path, 20, 30) == (30, 20)
    assert np.array_equal(decode_image(path.read_bytes()), to_color(values))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match='truncated or no image'):
        check_image(path)
