import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.registry import TRANSFORMS

from mmovsam.datasets.transforms import LoadImage


@pytest.fixture
def image():
    seed = 5
    print(f'seed {seed}')
    return np.random.default_rng(seed).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def write(path, image):
    cv2.imwrite(str(path), image)
    return dict(img_path=str(path))


def test_pixels_are_bgr_and_shapes_are_set(tmp_path, image):
    results = TRANSFORMS.build(dict(type='LoadImage'))(write(tmp_path / 'a.png', image))
    np.testing.assert_array_equal(results['img'], image)
    assert results['img_shape'] == results['ori_shape'] == (40, 60)


def test_an_image_of_one_pixel_loads(tmp_path, image):
    assert LoadImage()(write(tmp_path / 'a.png', image[:1, :1]))['img'].shape == (1, 1, 3)


def test_float_images_on_request(tmp_path, image):
    results = LoadImage(to_float32=True)(write(tmp_path / 'a.png', image))
    assert results['img'].dtype == np.float32


def test_a_missing_image_is_named_with_the_remedy(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'gone\.jpg is missing.*data_root'):
        LoadImage()(dict(img_path=str(tmp_path / 'gone.jpg')))


@pytest.mark.parametrize('suffix', ['jpg', 'png', 'bmp'])
@pytest.mark.parametrize('kept', [0.0, 0.01, 0.5, 0.95])
def test_a_truncated_image_is_named(tmp_path, image, suffix, kept):
    path = tmp_path / f'cut.{suffix}'
    results = write(path, image)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(ValueError, match=rf'cut\.{suffix} is truncated or no image'):
        LoadImage()(results)


@settings(deadline=None, max_examples=60)
@given(suffix=st.sampled_from(['.jpg', '.png']), lost=st.integers(1, 4000))
def test_a_cut_image_either_loads_whole_or_is_an_error(tmp_path_factory, suffix, lost):
    pixels = np.random.default_rng(6).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    path = tmp_path_factory.mktemp('cut') / f'cut{suffix}'
    results = write(path, pixels)
    whole = LoadImage()(dict(results))['img']
    data = path.read_bytes()
    path.write_bytes(data[: max(len(data) - lost, 0)])
    try:
        np.testing.assert_array_equal(LoadImage()(results)['img'], whole)
    except ValueError as error:
        assert 'truncated' in str(error)


def test_a_file_that_is_no_image_is_named(tmp_path):
    path = tmp_path / 'page.jpg'
    path.write_text('<html>not found</html>')
    with pytest.raises(ValueError, match=r'page\.jpg is truncated or no image'):
        LoadImage()(dict(img_path=str(path)))


@pytest.mark.parametrize('suffix', ['jpg', 'bmp', 'webp'])
def test_a_whole_image_with_bytes_behind_its_end_loads(tmp_path, image, suffix):
    path = tmp_path / f'a.{suffix}'
    results = write(path, image)
    path.write_bytes(path.read_bytes() + b'\0\0trailing')
    assert LoadImage()(results)['img'].shape == (40, 60, 3)


def test_an_image_of_another_size_than_annotated_is_named(tmp_path, image):
    results = write(tmp_path / 'a.png', image)
    with pytest.raises(ValueError, match=r'a\.png is 60x40 pixels, its annotation says 60x41'):
        LoadImage()(dict(results, height=41, width=60))


def test_ignore_empty_skips_what_does_not_load(tmp_path):
    assert LoadImage(ignore_empty=True)(dict(img_path=str(tmp_path / 'gone.jpg'))) is None
