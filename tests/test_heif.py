"""HEIC and AVIF: read wherever JPEG is, or refused with what to install."""

import io

import numpy as np
import pytest
from mmcv.transforms import Compose
from PIL import Image, ImageDraw, ImageOps

from mmovsam.apis.image_input import read_image, read_sent_image
from mmovsam.apis.input_list import list_images, list_inputs
from mmovsam.datasets.images import check_image
from mmovsam.pixels import load_all_depths

HEIC = b'\0\0\0\x18ftypheic\0\0\0\0mif1heic'
ORIENTATION = 0x0112


def picture():
    """Of 60x40 pixels, with a corner of its own."""
    image = Image.new('RGB', (60, 40), (200, 180, 40))
    ImageDraw.Draw(image).rectangle((0, 0, 20, 15), (20, 40, 160))
    return image


@pytest.fixture(params=['avif', 'heic'])
def save(request, tmp_path):
    """`save(exif)`: the picture in a file of a format, which is returned."""
    if request.param == 'heic':
        pytest.importorskip('pillow_heif').register_heif_opener()

    def write(**exif):
        path = tmp_path / f'image.{request.param}'
        picture().save(path, quality=95, **exif)
        return path

    return write


@pytest.mark.parametrize('turn', [None, 3, 6])
def test_image_is_read_as_it_is_shown_by_all_readers(save, turn):
    image, exif = picture(), {}
    if turn is not None:
        tags = Image.Exif()
        tags[ORIENTATION] = turn
        exif = dict(exif=tags.tobytes())
        image.getexif()[ORIENTATION] = turn
        image = ImageOps.exif_transpose(image)
    path, expected = save(**exif), np.asarray(image).astype(int)
    pipeline = Compose([dict(type='LoadImageFromFile')])
    load_all_depths(pipeline)
    for found in (
        read_image(path)[..., ::-1],
        read_image(path.read_bytes())[..., ::-1],
        read_sent_image(path.read_bytes(), path.name, 10_000),
        pipeline(dict(img_path=str(path)))['img'][..., ::-1],
    ):
        assert found.shape == expected.shape and np.abs(found - expected).mean() < 4
    assert check_image(str(path), image.height, image.width) == image.size
    with pytest.raises(ValueError, match='its annotation says'):
        check_image(str(path), image.height + 1, image.width)


def test_folders_have_them_and_cut_and_too_large_ones_are_refused(save, tmp_path):
    path = save()
    data = path.read_bytes()
    path.rename(path.with_suffix(path.suffix.upper()))
    assert len(list_images(tmp_path)) == len(list_inputs(str(tmp_path))) == 1
    for cut in (data[: len(data) // 2], data[:40]):
        for read in (read_image, lambda data: read_sent_image(data, 'it', 10_000)):
            with pytest.raises(ValueError, match='truncated or no image'):
                read(cut)
    with pytest.raises(ValueError, match='60x40 pixels; the limit'):
        read_sent_image(data, 'it', 2_000)


def test_what_to_install_is_said_where_heic_or_avif_is_met(tmp_path, monkeypatch):
    monkeypatch.setattr('mmovsam.heif.importlib.util.find_spec', lambda name: None)
    path = tmp_path / 'IMG_1.heic'
    path.write_bytes(HEIC)
    for read in (
        read_image,
        lambda path: check_image(str(path)),
        lambda path: read_sent_image(path.read_bytes(), path.name, 10_000),
    ):
        with pytest.raises(ValueError, match=r"IMG_1.heic is a HEIC .*'mmovsam\[heic\]'"):
            read(path)
    file = io.BytesIO()
    picture().save(file, 'AVIF')
    monkeypatch.setattr('mmovsam.heif.features.check', lambda name: False)
    with pytest.raises(ValueError, match=r"an AVIF image, .*'pillow>=11.3'"):
        read_image(file.getvalue())
