"""Uploaded files are read or refused in a sentence; what a browser gets is a picture."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from mmovsam.pixels import to_color
from mmovsam.web.pictures import data_url, read_picture


def write(path, size=(40, 30), **kwargs):
    """A file of a gradient, and its pixels."""
    width, height = size
    rows, columns = np.mgrid[:height, :width]
    image = np.stack([rows, columns, rows + columns], -1).astype(np.uint8)
    Image.fromarray(image).save(path, **kwargs)
    return image


def opened(address):
    head, content = address.split(',')
    assert head == 'data:image/jpeg;base64'
    return Image.open(io.BytesIO(base64.b64decode(content)))


@pytest.mark.parametrize('name', ['a.png', 'a.bmp', 'a.tiff', 'a.jpg', 'a.webp'])
def test_files_become_rgb(tmp_path, name):
    image = write(tmp_path / name)
    read = read_picture(tmp_path / name, 40 * 30)
    assert read.shape == (30, 40, 3) and read.dtype == np.uint8
    assert np.abs(read.astype(int) - image).mean() < 4  # JPEG and WebP lose a little


@pytest.mark.parametrize('value_range', [None, (100, 3000)])
def test_12_bits_in_a_file_of_16_are_no_black_picture(tmp_path, value_range):
    values = np.random.default_rng(1).integers(0, 4096, (30, 40), dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / 'a.png')
    found = read_picture(tmp_path / 'a.png', 40 * 30, value_range)
    assert np.array_equal(found, to_color(values, value_range)) and found.std() > 60


def test_too_many_pixels_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    write(tmp_path / 'large.png')
    monkeypatch.setattr('mmovsam.apis.sent_images.read_image', None)
    with pytest.raises(
        ValueError, match=r'large\.png has 40x30 pixels.*limit here is 0\.001 million'
    ):
        read_picture(tmp_path / 'large.png', 1000)


@pytest.mark.parametrize('content', [b'', b'no picture', b'%!PS-Adobe-3.0 EPSF-3.0\n'])
def test_what_is_no_picture_is_refused_by_its_name_alone(tmp_path, content):
    path = tmp_path / 'notes.jpg'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r'^notes\.jpg is truncated or no image.*JPEG or PNG'):
        read_picture(path, 10**6)


@pytest.mark.parametrize('name', ['half.png', 'half.jpg'])
def test_truncated_pictures_are_refused_by_their_name_alone(tmp_path, name):
    write(tmp_path / name, (200, 200))
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=rf'^{name}: .* is truncated') as caught:
        read_picture(tmp_path / name, 10**6)
    assert str(tmp_path) not in str(caught.value)


def test_file_that_is_gone_is_asked_for_again(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'^a\.png is gone.*send it again'):
        read_picture(tmp_path / 'a.png', 10**6)


def test_large_pictures_are_shown_smaller():
    image = np.zeros((300, 900, 3), np.uint8)
    assert opened(data_url(image, 450)).size == (450, 150)
    assert opened(data_url(image, 1000)).size == (900, 300)
