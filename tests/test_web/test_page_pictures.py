"""Uploaded files are read or refused in a sentence; what a browser gets is a picture."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from mmovsam.apis.image_input import read_sent_image
from mmovsam.pixels import to_color
from mmovsam.web.pictures import data_url, read_file


def read_picture(path, *limits):
    return read_sent_image(read_file(path), path.name, *limits)


@pytest.fixture
def gradient():
    """`(200, 220, 3)` uint8."""
    rows, columns = np.mgrid[:200, :220]
    return np.stack([rows, columns, rows + columns], -1).astype(np.uint8)


@pytest.mark.parametrize('name', ['a.png', 'a.bmp', 'a.tiff', 'a.jpg', 'a.webp'])
def test_files_become_rgb(tmp_path, name, gradient):
    Image.fromarray(gradient[:30, :40]).save(tmp_path / name)
    read = read_picture(tmp_path / name, 40 * 30)
    assert read.shape == (30, 40, 3) and read.dtype == np.uint8
    assert np.abs(read.astype(int) - gradient[:30, :40]).mean() < 4  # JPEG and WebP lose a little


def test_12_bits_in_a_file_of_16_are_no_black_picture(tmp_path):
    values = np.random.default_rng(1).integers(0, 4096, (30, 40), dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / 'a.png')
    for value_range in (None, (100, 3000)):
        found = read_picture(tmp_path / 'a.png', 40 * 30, value_range)
        assert np.array_equal(found, to_color(values, value_range)) and found.std() > 60


@pytest.mark.parametrize('suffix', ['png', 'jpg'])
def test_what_is_no_whole_picture_is_refused_by_its_name_alone(tmp_path, suffix, gradient):
    path = tmp_path / f'a.{suffix}'
    with pytest.raises(FileNotFoundError, match=rf'^a\.{suffix} is gone.*send it again'):
        read_picture(path, 10**6)
    for content in (b'', b'no picture', b'%!PS-Adobe-3.0 EPSF-3.0\n'):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf'^a\.{suffix} is truncated or no .*JPEG or PNG'):
            read_picture(path, 10**6)
    Image.fromarray(gradient).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=rf'^a\.{suffix}: .* is truncated') as caught:
        read_picture(path, 10**6)
    assert str(tmp_path) not in str(caught.value)


def test_too_many_pixels_are_refused_before_they_are_decoded(tmp_path, monkeypatch, gradient):
    Image.fromarray(gradient).save(tmp_path / 'large.png')
    monkeypatch.setattr('mmovsam.apis.image_input.read_image', None)
    with pytest.raises(ValueError, match=r'large\.png has 220x200 pixels.*here is 0\.001 million'):
        read_picture(tmp_path / 'large.png', 1000)


def test_large_pictures_are_shown_smaller():
    for side, size in ((450, (450, 150)), (1000, (900, 300))):
        head, content = data_url(np.zeros((300, 900, 3), np.uint8), side).split(',')
        assert head == 'data:image/jpeg;base64'
        assert Image.open(io.BytesIO(base64.b64decode(content))).size == size
