"""Images as people give them: kinds, orientations, depths, many at once, the same one again."""

import cv2
import mmcv
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from mmengine.config import ConfigDict
from mmengine.dataset import BaseDataset
from PIL import Image
from small_predictor import BOX, close, same

from mmovsam.apis import OVSAMPredictor
from mmovsam.apis.image_input import read_image
from mmovsam.datasets.images import CheckedImages
from mmovsam.prompts.detectors import inference_pipeline

ORIENTATION = 0x0112


@pytest.fixture
def encoded(model, monkeypatch):
    """How many images each call of the encoder gets."""
    sizes = []
    encode = model.extract_feat
    monkeypatch.setattr(
        model, 'extract_feat', lambda inputs: sizes.append(len(inputs)) or encode(inputs)
    )
    return sizes


def pictures(count):
    """Pictures of different sizes."""
    random = np.random.default_rng(2)
    return [
        random.integers(0, 256, (40 + 7 * i, 90 - 11 * i, 3), dtype=np.uint8) for i in range(count)
    ]


class Images(CheckedImages, BaseDataset):
    """A data set of one image."""

    backend_args = None

    def __init__(self, path, **kwargs):
        self.path = str(path)
        super().__init__(**kwargs)

    def load_data_list(self):
        return [dict(img_path=self.path)]


def test_arrays_pil_images_and_files_give_one_result(predictor, picture, tmp_path):
    expected = predictor.predict(box=BOX)
    path = tmp_path / 'picture.png'
    Image.fromarray(picture).save(path)
    bgr = np.ascontiguousarray(picture[..., ::-1])
    for image in (Image.fromarray(picture), Image.fromarray(picture).convert('RGBA'), str(path)):
        assert np.array_equal(read_image(image), bgr)
    for image, more in [(bgr, dict(image_format='BGR')), (path, {})]:
        predictor.set_image(image, **more)
        assert same(predictor.predict(box=BOX), expected)


@pytest.mark.parametrize(
    'name, change, options',
    [
        ('turned.jpg', lambda image: image, dict(exif={ORIENTATION: 6})),
        ('mirrored.png', lambda image: image, dict(exif={ORIENTATION: 2})),
        ('gray.png', lambda image: image.convert('L'), {}),
        ('gray_and_alpha.png', lambda image: image.convert('LA'), {}),
        ('alpha.png', lambda image: Image.merge('RGBA', (*image.split(), image.split()[0])), {}),
        ('palette.png', lambda image: image.quantize(9), {}),
        ('see_through_palette.png', lambda image: image.quantize(9), dict(transparency=3)),
        ('palette.gif', lambda image: image.quantize(9), {}),
        ('two_tones.png', lambda image: image.convert('1'), {}),
        ('plain.bmp', lambda image: image, {}),
    ],
)
def test_files_and_pil_images_are_read_as_the_pipeline_reads_them(
    picture, tmp_path, name, change, options
):
    exif = Image.Exif()
    for tag, value in options.pop('exif', {}).items():
        exif[tag] = value
        options = dict(exif=exif)
    path = tmp_path / name
    change(Image.fromarray(picture)).save(path, **options)
    expected = LoadImageFromFile()(dict(img_path=str(path)))['img']
    assert np.array_equal(read_image(path), expected)
    with Image.open(path) as image:
        assert np.array_equal(read_image(image), expected)
    if name == 'turned.jpg':
        assert expected.shape == (80, 60, 3)


@pytest.mark.parametrize(
    'name, channels, value_range',
    [
        ('a.png', 0, None),
        ('a.tif', 0, (100, 3000)),
        ('a.png', 3, (100, 3000)),
        ('a.png', 4, None),
        ('a.tif', 3, None),
    ],
)
def test_12_bits_in_a_file_of_16_are_scaled_in_every_reader(
    model, encoded, tmp_path, name, channels, value_range
):
    """Predictor, inferencer and data sets see one picture, which is not nearly black."""
    values = np.random.default_rng(1).integers(0, 4096, (60, 80, channels or 1), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / name), values)
    colors = values[..., :3]
    low, high = value_range or np.percentile(colors, (0.5, 99.5))
    expected = np.clip((colors.astype(float) - low) / (high - low), 0, 1) * 255
    expected = np.broadcast_to(np.rint(expected), (60, 80, 3))
    found = read_image(tmp_path / name, value_range=value_range)
    assert np.abs(found - expected).max() <= 1 and found.std() > 60
    assert np.array_equal(read_image(values, 'BGR', value_range), found)
    dataset = Images(tmp_path / name, pipeline=[LoadImageFromFile()], value_range=value_range)
    assert np.array_equal(dataset[0]['img'], found)
    steps = [dict(type='LoadImageFromFile'), dict(type='PackDetInputs')]
    packed = inference_pipeline(ConfigDict(), steps, value_range)(str(tmp_path / name))
    assert np.array_equal(packed['inputs'].permute(1, 2, 0), found)
    predictor = OVSAMPredictor(model, value_range=value_range)
    predictor.set_image(tmp_path / name)
    predictor.set_image(found, 'BGR')
    assert encoded == [1]  # the second one is the same picture


@pytest.mark.parametrize(
    'image, message',
    [
        (np.zeros((3, 8, 8), np.uint8), r'got \(3, 8, 8\)'),
        (np.zeros((0, 8, 3), np.uint8), r'got \(0, 8, 3\)'),
        (np.full((8, 8, 3), np.nan), 'no finite value'),
        (None, 'got'),
    ],
)
def test_bad_image_is_refused_and_the_old_one_forgotten(predictor, picture, image, message):
    for images in ([image], [picture, image]):
        predictor.set_image(picture)
        with pytest.raises(ValueError, match=message):
            predictor.set_image_batch(images)
        assert not predictor.is_image_set
    with pytest.raises(ValueError, match="'RGB' or 'BGR', not 'GBR'"):
        predictor.set_image(picture, image_format='GBR')
    for images in ([], np.zeros((2, 8, 8, 3), np.uint8), 'picture.png'):
        with pytest.raises(ValueError, match='takes a list of images'):
            predictor.set_image_batch(images)


@pytest.mark.parametrize('suffix', ['jpg', 'png'])
def test_missing_truncated_and_foreign_files_are_named(predictor, picture, tmp_path, suffix):
    path = tmp_path / f'picture.{suffix}'
    with pytest.raises(FileNotFoundError, match=f'no image file .*picture.{suffix}'):
        predictor.set_image(path)
    with pytest.raises(FileNotFoundError, match='is a folder'):
        predictor.set_image(tmp_path)
    Image.fromarray(picture).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with Image.open(path) as image, pytest.raises(ValueError, match='PIL image cannot be read'):
        predictor.set_image(image)
    for data in (content[: len(content) // 2], b'', b'no image'):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=rf'picture.{suffix} is truncated or no image'):
            predictor.set_image(str(path))


def test_images_of_many_sizes_are_one_batch_and_equal_each_by_itself(model, encoded, tmp_path):
    images = pictures(4)
    mmcv.imwrite(images[2][..., ::-1], str(tmp_path / '2.png'))
    alone = []
    for image in images:
        single = OVSAMPredictor(model)
        single.set_image(image)
        alone.append(single.predict(box=[3, 4, 30, 35]))
    predictor = OVSAMPredictor(model)
    given = [images[0], Image.fromarray(images[1]), tmp_path / '2.png', images[3], images[0]]
    predictor.set_image_batch(given)
    assert encoded == [1, 1, 1, 1, 4]  # the first one is not encoded twice
    for index, expected in enumerate([*alone, alone[0]]):
        close(predictor.predict(box=[3, 4, 30, 35], image_index=index), expected)
        batch = predictor.predict_batch([dict(box=[3, 4, 30, 35])], image_index=index)
        close(batch, expected)
    for index in (-1, 5):
        message = f'image_index is {index}, but images 0 to 4 are set'
        with pytest.raises(ValueError, match=message):
            predictor.predict(box=BOX, image_index=index)


def test_recent_images_are_not_encoded_again(model, encoded):
    images = pictures(4)
    predictor = OVSAMPredictor(model, cache_size=2)
    answers = []
    for i in (0, 1, 0, 1, 0):
        predictor.set_image(images[i].copy())
        answers.append(predictor.predict(box=BOX[:2] + [45, 39]))
    assert len(encoded) == 2 and all(map(same, answers[2:], answers))
    for image, number in ((2, 3), (0, 3), (1, 4)):  # the second gives way: the first was used later
        predictor.set_image(images[image])
        assert len(encoded) == number
    predictor.set_image_batch(images)  # of four the second and the first are known
    assert encoded[4:] == [2]
    predictor = OVSAMPredictor(model, cache_size=0)
    for _ in range(2):
        predictor.set_image(images[0])
    assert len(encoded) == 7
    with pytest.raises(ValueError, match='cache_size must be at least 0, not -1'):
        OVSAMPredictor(model, cache_size=-1)


@pytest.mark.parametrize('size', [(60, 80), (96, 80), (120, 160)])
def test_one_changed_pixel_or_size_makes_another_image(model, encoded, size):
    image = np.full((*size, 3), 90, np.uint8)
    predictor = OVSAMPredictor(model)
    predictor.set_image(image)
    image[5, 7] = 255  # in place: what was set before is not this
    predictor.set_image(image)
    predictor.set_image(image.repeat(2, 0).repeat(2, 1))
    assert predictor.predict(box=[3, 4, 50, 35]).masks.shape == (1, 2 * size[0], 2 * size[1])
    assert len(encoded) == 3
