"""Windows of images that are not read as a whole."""

import types

import numpy as np
import pytest
import tifffile
from PIL import Image

from mmovsam.apis import large_image
from mmovsam.apis.image_input import read_image
from mmovsam.apis.large_image import open_large_image

WINDOWS = ((0, 0, 130, 100), (30, 5, 70, 40), (48, 32, 96, 64), (129, 64, 130, 65))
LAYOUTS = {
    'tiles': dict(tile=(32, 48), compression='zlib'),
    'strips': dict(rowsperstrip=17, compression='zlib'),
    'uncompressed': {},
    'uncompressed tiles': dict(tile=(32, 32)),
}


@pytest.fixture
def pixels():
    print('seed 3')
    return np.random.default_rng(3).integers(0, 256, (100, 130, 3), dtype=np.uint8)


@pytest.fixture
def by_tifffile(monkeypatch):
    monkeypatch.setattr(large_image, 'find_spec', lambda name: name == 'tifffile')


def check(image, pixels):
    """That windows of an image are those of RGB pixels."""
    assert image.shape == pixels.shape[:2]
    for x1, y1, x2, y2 in WINDOWS:
        window = image.window(x1, y1, x2, y2)
        assert np.array_equal(window, pixels[y1:y2, x1:x2, ::-1]) and window.dtype == np.uint8


@pytest.mark.parametrize('planes', ['contig', 'separate'])
@pytest.mark.parametrize('layout', LAYOUTS)
def test_windows_of_tiff_files(tmp_path, by_tifffile, pixels, layout, planes):
    path = tmp_path / 'image.TIF'
    data = pixels if planes == 'contig' else pixels.transpose(2, 0, 1)
    tifffile.imwrite(path, data, photometric='rgb', planarconfig=planes, **LAYOUTS[layout])
    check(open_large_image(path), pixels)


def test_a_codec_that_is_missing_is_named_with_the_extra_that_brings_it(
    tmp_path, monkeypatch, pixels
):
    path = tmp_path / 'image.tif'
    Image.fromarray(pixels).save(path, compression='tiff_lzw')

    def decode(*args, **kwargs):
        raise ValueError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package")

    monkeypatch.setattr(tifffile.TiffPage, 'decode', property(lambda page: decode))
    with pytest.raises(ValueError, match=r"imagecodecs' package: pip install 'mmovsam\[large-im"):
        open_large_image(path).window(0, 0, 9, 9)


def test_a_tiff_file_is_read_tile_by_tile(tmp_path, by_tifffile, pixels):
    path = tmp_path / 'image.tif'
    tifffile.imwrite(path, pixels, photometric='rgb', tile=(32, 32), compression='zlib')
    content = path.read_bytes()
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        start, length = page.dataoffsets[-1], page.databytecounts[-1]
    path.write_bytes(content[:start] + b'\xff' * length + content[start + length :])
    image = open_large_image(path)
    assert np.array_equal(image.window(0, 0, 96, 64), pixels[:64, :96, ::-1])
    with pytest.raises(ValueError, match=r'image.tif cannot be read at 100, 80'):
        image.window(100, 80, 130, 100)


def test_other_images_and_arrays(tmp_path, monkeypatch, pixels):
    monkeypatch.setattr(large_image, 'find_spec', lambda name: False)
    for name in ('image.png', 'image.tif'):
        Image.fromarray(pixels).save(tmp_path / name)
        check(open_large_image(tmp_path / name), pixels)
    np.save(tmp_path / 'image.npy', pixels)
    for image in (pixels, Image.fromarray(pixels), np.load(tmp_path / 'image.npy', mmap_mode='r')):
        check(open_large_image(image), pixels)
    check(open_large_image(pixels[..., ::-1], image_format='BGR'), pixels)


def test_all_windows_of_a_deep_image_have_one_range(pixels):
    deep = pixels.astype(np.uint16) * 13 + np.arange(130)[None, :, None].astype(np.uint16)
    low, high = np.percentile(deep, [0.5, 99.5])
    image = open_large_image(deep)
    window = image.window(0, 0, 20, 20).astype(int)
    expected = np.clip((deep[:20, :20, ::-1] - low) / (high - low), 0, 1) * 255
    assert np.abs(window - expected).max() <= 1
    window = open_large_image(deep, value_range=(0, 4095)).window(0, 0, 20, 20).astype(int)
    assert np.abs(window - deep[:20, :20, ::-1] / 4095 * 255).max() <= 1


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('mode', ['RGB', 'CMYK', 'LAB', 'L', '1'])
def test_tiff_files_are_shown_as_without_tiles(tmp_path, by_tifffile, orientation, mode):
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = Image.fromarray(np.arange(60, dtype=np.uint8).reshape(4, 5, 3) * 4).convert(mode)
    white_is_zero = {} if len(mode) > 1 else dict(tiffinfo={262: 0, 0x0112: orientation})
    pixels.save(tmp_path / 'a.tif', **(white_is_zero or dict(exif=exif)))
    image = open_large_image(tmp_path / 'a.tif')
    whole = image.window(0, 0, image.shape[1], image.shape[0])
    assert np.array_equal(whole, read_image(tmp_path / 'a.tif')) and len(np.unique(whole)) > 1


def test_nothing_in_one_part_of_an_image_is_black_there(pixels):
    deep = pixels.astype(np.float32) / 255
    deep[:50] = np.nan  # as where an orthophoto has no data
    image = open_large_image(deep)
    assert not image.window(0, 0, 130, 50).any()
    assert np.array_equal(image.window(0, 50, 130, 100), pixels[50:, :, ::-1])
    with pytest.raises(ValueError, match='no finite value'):
        open_large_image(np.full((5, 5), np.nan)).window(0, 0, 5, 5)


def test_what_is_no_image_is_named(tmp_path, monkeypatch):
    (tmp_path / 'broken.tif').write_text('no image')
    for reader in (['tifffile'], []):
        monkeypatch.setattr(large_image, 'find_spec', lambda name, reader=reader: name in reader)
        with pytest.raises(ValueError, match=r'broken.tif is truncated or no image'):
            open_large_image(tmp_path / 'broken.tif')
    with pytest.raises(FileNotFoundError, match='missing.tif'):
        open_large_image(tmp_path / 'missing.tif')
    huge = types.SimpleNamespace(shape=(70000, 70000, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match=r'70000x70000 pixels.*2\*\*32'):
        open_large_image(huge)
