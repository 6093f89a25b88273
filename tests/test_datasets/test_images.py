"""Image files that are missing, truncated, foreign, turned or of another size."""

import errno
import os
import struct
import zlib
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from mmengine.dataset import BaseDataset
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from mmovsam.apis.image_input import read_image, read_sent_image
from mmovsam.datasets.images import CheckedImages, check_image, whole_image_size
from mmovsam.pixels import upright

DATA = Path(__file__).parents[1] / 'data'


@pytest.fixture
def image():
    seed = 5
    print(f'seed {seed}')
    return np.random.default_rng(seed).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def write(path, image):
    cv2.imwrite(str(path), image)
    return path


@pytest.mark.parametrize('suffix', ['jpg', 'png', 'bmp', 'webp'])
@pytest.mark.parametrize('kept', [0.0, 0.5, 1.0])
def test_a_truncated_image_is_named_and_one_with_bytes_behind_it_is_not(
    tmp_path, image, suffix, kept
):
    path = write(tmp_path / f'cut.{suffix}', image)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)] if kept < 1 else data + b'\0\0trailing')
    if kept == 1:
        assert check_image(path, 40, 60) == (60, 40)
    else:
        with pytest.raises(ValueError, match=rf'cut\.{suffix} is truncated or no image'):
            check_image(path)


def test_images_that_are_missing_or_of_another_size_or_of_none_are_named(tmp_path, image):
    with pytest.raises(FileNotFoundError, match=r'gone\.jpg is missing.*data_root'):
        check_image(tmp_path / 'gone.jpg')
    path = write(tmp_path / 'a.png', image)
    with pytest.raises(ValueError, match=r'a\.png is 60x40 pixels, its annotation says 60x41'):
        check_image(path, height=41, width=60)
    path = DATA / 'fuzz' / 'negative_width.tiff'  # `cv2.error` is no ValueError
    for read in (read_image, check_image):
        with pytest.raises(ValueError, match='negative_width.tiff is truncated or no image'):
            read(str(path))


@pytest.mark.parametrize('name', ['a.jpg', 'a.png', 'a.webp', 'a.tif'])
def test_images_above_the_limit_of_pil_are_read(tmp_path, image, name, monkeypatch):
    """178,956,970 pixels by default: a file of one's own is no attack."""
    path = write(tmp_path / name, image)
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 1000)
    assert check_image(path, 40, 60) == (60, 40)
    assert read_image(path).shape == (40, 60, 3)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    if name != 'a.tif':
        with pytest.raises(ValueError, match='truncated or no image'):
            read_image(path)


SHORT, ODD = 3, [(3, 300), (3, 0), (2, ord('6')), (1, 6), (4, 6), (5, 6), (7, 6), (9, 6), (99, 6)]


def exif_of(orientation, kind=SHORT, count=1):
    """EXIF with an orientation, which may be of another type than the standard's short number."""
    entry = struct.pack('<HHHIII', 1, 0x0112, kind, count, orientation, 0)
    return b'Exif\0\0II*\0\x08\0\0\0' + entry


def save(path, image, exif):
    """An image; a PNG called `late` has its EXIF behind its pixels."""
    if path.name.startswith('late'):
        Image.fromarray(image).save(path)
        chunk = b'eXIf' + exif.removeprefix(b'Exif\0\0')
        chunk = struct.pack('>I', len(chunk) - 4) + chunk + struct.pack('>I', zlib.crc32(chunk))
        content = path.read_bytes()
        path.write_bytes(content[:-12] + chunk + content[-12:])
    elif path.suffix == '.tif':
        Image.fromarray(image).save(path, tiffinfo={0x0112: exif[-8]})
    else:
        Image.fromarray(image).save(path, exif=exif)


@pytest.mark.parametrize('name', ['a.jpg', 'a.png', 'late.png', 'a.webp', 'a.tif'])
def test_a_turned_image_has_the_size_that_loading_gives_it(tmp_path, image, name):
    path = tmp_path / name
    for (kind, orientation), count in product([*((SHORT, i) for i in range(1, 9)), *ODD], (1, 2)):
        print(kind, orientation, count)
        save(path, image, exif_of(orientation, kind, count))
        height, width = LoadImageFromFile()(dict(img_path=str(path)))['img'].shape[:2]
        assert check_image(path, height, width) == (width, height)
        with pytest.raises(ValueError, match='do not belong together'):
            check_image(path, width, height)
        if kind == SHORT and name == 'a.png':
            with Image.open(path) as opened:
                turned, expected = upright(opened), ImageOps.exif_transpose(opened)
                np.testing.assert_array_equal(np.asarray(turned), np.asarray(expected))


def test_broken_exif_turns_nothing_and_no_image_starts_a_program(tmp_path, image, monkeypatch):
    for exif in (b'Exif\0\0', b'Exif\0\0II*\0', b'Exif\0\0MM\0*' + b'\xff' * 40):
        Image.fromarray(image).save(tmp_path / 'a.jpg', exif=exif)
        assert check_image(tmp_path / 'a.jpg') == (60, 40)
    eps = b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n%%Page: 1 1\nshowpage\n'
    monkeypatch.setattr('PIL.EpsImagePlugin.Ghostscript', lambda *_, **__: pytest.fail('started'))
    assert whole_image_size(eps) is None


def test_damaged_and_missing_images_of_a_training_are_skipped_and_counted(tmp_path, image, logged):
    class Images(CheckedImages, BaseDataset):
        backend_args = None

        def load_data_list(self):
            paths = [str(write(tmp_path / f'{i}.png', image)) for i in range(3)]
            (tmp_path / '1.png').write_bytes(b'cut')
            broken = bytearray(Path(paths[2]).read_bytes())
            broken[len(broken) // 2] ^= 255
            (tmp_path / '2.png').write_bytes(broken)  # whole, but its pixels are not
            return [dict(img_path=path) for path in [*paths, str(tmp_path / 'gone.png')]]

    settings = dict(pipeline=[LoadImageFromFile()], serialize_data=False)
    for index, error in ((1, ValueError), (2, ValueError), (3, FileNotFoundError)):
        with pytest.raises(error):
            Images(**settings)[index]
    dataset = Images(**settings, damaged='skip')
    for index in range(4):
        np.testing.assert_array_equal(dataset[index]['img'], image)
    for message in ('1.png is truncated', '2.png is truncated', 'gone.png is missing'):
        assert message in logged.text
    for wrong in (dict(damaged='skip', test_mode=True), dict(damaged='pass')):
        with pytest.raises(ValueError, match='damaged'):
            Images(**settings, **wrong)


@pytest.mark.parametrize('error', [ImportError('libjpeg.so.8'), MemoryError()])
def test_image_is_not_called_broken_for_a_broken_installation_or_disk(tmp_path, monkeypatch, error):
    def fail(*args, **kwargs):
        raise error

    Image.new('RGB', (8, 6)).save(tmp_path / 'a.png')
    monkeypatch.setattr(Image, 'open', fail)
    with pytest.raises(type(error)):
        check_image(str(tmp_path / 'a.png'))
    error = OSError(errno.EIO, os.strerror(errno.EIO))
    monkeypatch.setattr('mmengine.fileio.get', fail)
    with pytest.raises(OSError, match='Input/output error.*a.png'):
        check_image('a.png')


def test_texts_in_a_png_file_may_be_long(tmp_path):
    texts = PngInfo()
    texts.add_text('workflow', 'x' * 2_000_000, zip=True)
    path = tmp_path / 'a.png'
    Image.new('RGB', (30, 20), 'red').save(path, pnginfo=texts)
    assert check_image(path) == (30, 20)
    assert read_image(path)[0, 0].tolist() == [0, 0, 255]
    assert read_sent_image(path.read_bytes(), 'a.png', 600).shape == (20, 30, 3)
    with pytest.raises(ValueError, match='a.png has 30x20 pixels; the limit here is'):
        read_sent_image(path.read_bytes(), 'a.png', 599)
