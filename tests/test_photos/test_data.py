"""Photographs with masks and names in memory."""

import cv2
import numpy as np
import pytest
import tiny_photo
import torch
from pycocotools import mask as coco_mask

from mmovsam.photos import PhotoData, load_photographs


@pytest.fixture(autouse=True)
def small_canvas(monkeypatch):
    tiny_photo.set_canvas(monkeypatch)


def decode(root, sets=('set',)):
    return PhotoData(load_photographs(root, sets), workers=2)


def test_masks_are_those_that_pycocotools_decodes_and_images_are_as_opencv_reads_them(tmp_path):
    content = tiny_photo.write_set(tmp_path)
    data = decode(tmp_path)
    assert len(data) == 2 and len(content['annotations']) == 6
    masks = data.masks_of(torch.arange(6))
    assert masks.shape == (6, 1, 128, 128) and masks.dtype == torch.uint8
    for mask, about, area in zip(masks[:, 0].numpy(), content['annotations'], data.areas):
        want = coco_mask.decode(about['segmentation'])
        height, width = want.shape
        assert np.array_equal(mask[:height, :width], want)
        assert mask.sum() == want.sum() == area
    order = torch.tensor([4, 0, 4])
    assert torch.equal(data.masks_of(order), masks[order])
    assert data.masks_of(order[:0]).shape == (0, 1, 128, 128)

    assert data.sizes.tolist() == [[90, 120], [128, 100]]  # RGB, in the upper left corner
    for index, (height, width) in enumerate(data.sizes.tolist()):
        bgr = cv2.imread(str(tmp_path / f'set/images/{index}.png'))
        assert np.array_equal(
            data.images[index, :, :height, :width].permute(1, 2, 0).numpy(), bgr[..., ::-1]
        )
        assert not data.images[index, :, height:].any()
        assert not data.images[index, :, :, width:].any()


def test_polygons_and_plain_run_lengths_are_read(tmp_path):
    content = tiny_photo.write_set(tmp_path)
    one, two = content['annotations'][:2]
    # two squares, and a mask by its counts down the columns
    one['segmentation'] = [[10, 20, 30, 20, 30, 40, 10, 40], [50, 20, 60, 20, 60, 30, 50, 30]]
    two['segmentation'] = dict(size=[90, 120], counts=[90 * 2 + 5, 7, 90 * 118 - 12])
    tiny_photo.write_instances(tmp_path / 'set', content)
    want = torch.zeros(2, 128, 128, dtype=torch.uint8)
    want[0, 20:40, 10:30] = want[0, 20:30, 50:60] = want[1, 5:12, 2] = 1
    assert torch.equal(decode(tmp_path).masks_of(torch.arange(2))[:, 0], want)


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(segmentation=dict(size=[90, 120], counts='abc')), r'annotation 2 has segmentation'),
        (dict(segmentation=dict(size=[90, 120], counts=[5, 7])), r'annotation 2 .* 12 in all'),
        (dict(segmentation=dict(size=[90, 120], counts=[-5, 10805])), 'annotation 2 .* -5 to'),
        (dict(segmentation=dict(size=[120, 90], counts=[10800])), r'of the whole image'),
        (dict(segmentation=None), r'annotation 2 has no "segmentation"'),
        (dict(iscrowd='maybe'), r'annotation 2 has iscrowd'),
        (dict(image_id=77), r'annotation 2 has image_id 77'),
    ],
)
def test_wrong_annotations_are_named(tmp_path, change, message):
    content = tiny_photo.write_set(tmp_path)
    content['annotations'][1].update(change)
    tiny_photo.write_instances(tmp_path / 'set', content)
    with pytest.raises(ValueError, match=rf'instances\.json: .*{message}'):
        load_photographs(tmp_path, ['set'])


def test_objects_without_area_are_left_out(tmp_path):
    content = tiny_photo.write_set(tmp_path)
    content['annotations'][1]['segmentation'] = [[10, 10, 60, 50]]
    content['annotations'][2]['segmentation'] = dict(size=[90, 120], counts=[90 * 120])
    tiny_photo.write_instances(tmp_path / 'set', content)
    found = load_photographs(tmp_path, ['set'])
    assert [each['id'] for each in found.objects] == [1, 4, 5, 6]


def test_large_photographs_and_their_masks_are_made_smaller(tmp_path):
    content = tiny_photo.write_set(tmp_path, shapes=((150, 300),))
    data = decode(tmp_path)
    assert data.sizes.tolist() == [[64, 128]]
    for index, about in enumerate(content['annotations']):
        mask = torch.from_numpy(coco_mask.decode(about['segmentation'])).float()[None, None]
        want = torch.nn.functional.interpolate(mask, (64, 128), mode='area')[0, 0]
        got = data.masks_of(torch.tensor([index]))[0, 0, :64].float()
        assert ((got > 0.5) != (want > 0.5)).float().mean() < 0.01
        assert data.areas[index] == pytest.approx(float(want.sum()), rel=0.05)


def test_names_alone_are_for_whole_photographs(tmp_path):
    tiny_photo.write_set(tmp_path)
    (tmp_path / 'named/images').mkdir(parents=True)
    cv2.imwrite(str(tmp_path / 'named/images/a.png'), np.full((40, 70, 3), 90, np.uint8))
    (tmp_path / 'named/names.tsv').write_text('a.png\tgiant panda\tmore\n', encoding='utf-8')
    data = decode(tmp_path, ['set', 'named'])
    assert data.photographs.sources == ['set', 'set', 'named']
    assert data.photographs.objects[-1]['name'] == 'giant panda'
    assert data.photographs.sizes[-1] == (40, 70)
    assert data.has_mask.tolist() == [True] * 6 + [False]
    whole = data.masks_of(torch.tensor([6]))[0, 0]
    assert whole[:40, :70].all() and whole.sum() == data.areas[6] == 40 * 70


def test_what_is_missing_or_broken_is_named(tmp_path):
    (tmp_path / 'empty').mkdir()
    with pytest.raises(FileNotFoundError, match='empty has neither instances.json nor names.tsv'):
        load_photographs(tmp_path, ['empty'])
    tiny_photo.write_set(tmp_path)
    (tmp_path / 'set/images/1.png').write_bytes(b'no image')
    with pytest.raises(ValueError, match=r'1\.png is truncated or no image'):
        decode(tmp_path)
    (tmp_path / 'set/images/1.png').unlink()
    with pytest.raises(FileNotFoundError, match=r'1 images are missing, such as .*1\.png'):
        load_photographs(tmp_path, ['set'])
