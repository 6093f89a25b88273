"""Augmented batches."""

import math

import numpy as np
import pytest
import tiny_photo
import torch

from mmovsam.layers.bboxes import masks_to_bboxes
from mmovsam.photos import augmentation, make_batch
from mmovsam.photos.augmentation import SCALES, random_transforms

SEED = 9
SIZE = tiny_photo.SIZE


@pytest.fixture(autouse=True)
def small_canvas(monkeypatch):
    tiny_photo.set_canvas(monkeypatch)


def generator(seed=SEED):
    return torch.Generator().manual_seed(seed)


def boxes_and_masks(data, objects):
    masks = data.masks_of(objects)[:, 0].bool()
    return masks_to_bboxes(masks), masks


def test_without_augmentation_only_the_size_changes(tmp_path):
    data = tiny_photo.photo_data(tmp_path, shapes=((48, 64), (128, 100)))
    batch = make_batch(data, torch.arange(2), generator(), 9, augment=False, target_stride=1)
    bboxes, masks = boxes_and_masks(data, batch.objects)
    scale = 128 / data.sizes.amax(1)[data.image_of[batch.objects]]
    assert scale.tolist() == [2.0] * 3 + [1.0] * 3
    # the bilinear edge of what is enlarged is off by less than a pixel
    assert (batch.bboxes - bboxes * scale[:, None]).abs().max() <= 1
    ours = scale == 1
    assert torch.equal(batch.bboxes[ours], bboxes[ours])
    assert torch.equal(batch.masks[ours] > 0.5, masks[ours])
    assert torch.allclose(batch.visible, torch.ones(6), atol=0.03)
    image = data.images[1].float() / 127.5 - 1
    assert torch.allclose(batch.inputs[1, :, :, :100], image[:, :, :100], atol=1e-5)
    assert (batch.inputs[1, :, :, 101:] == 0).all()  # padding is the mean


def painted(num):
    """Photographs that are white where the object is and black elsewhere."""
    images, masks, random = [], [], np.random.default_rng(SEED)
    for _ in range(num):
        # nothing at the edges of the photograph, where it is blended with the padding
        center = int(random.integers(40, 80)), int(random.integers(40, 60))
        axes = int(random.integers(10, 38)), int(random.integers(10, 38))
        mask = tiny_photo.ellipse((100, 120), center, axes)
        masks.append(mask)
        images.append(np.repeat(mask[..., None] * 255, 3, axis=2).astype(np.uint8))
    return tiny_photo.data_of(images, masks)


def test_random_transforms_move_masks_with_their_images(monkeypatch):
    print('seed', SEED)
    monkeypatch.setattr(augmentation, 'change_colors', lambda images, generator: images)
    data = painted(24)
    batch = make_batch(data, torch.arange(24), generator(), target_stride=1)
    assert len(batch.objects) > 15
    assert (batch.visible < 0.99).any()  # some are cropped
    seen = (batch.inputs[batch.image_index, 0] + 1) / 2
    inside = batch.masks > 0
    assert (seen - batch.masks)[inside].abs().max() < 1e-4
    assert seen[~inside].max() < 0.5 + 1e-4  # black, or the gray of the padding
    for mask, bbox in zip(batch.masks, batch.bboxes):
        rows, columns = (mask > 0.5).any(1).nonzero(), (mask > 0.5).any(0).nonzero()
        edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert bbox.tolist() == [float(edge) for edge in edges]


def test_transforms_are_of_every_kind():
    print('seed', SEED)
    sizes = torch.tensor([[96, 128]]).repeat(400, 1)
    transforms = random_transforms(sizes, generator())
    scales, offsets = transforms[:, :2], transforms[:, 2:]
    assert 0.4 < (scales[:, 0] < 0).float().mean() < 0.6 and (scales[:, 1] > 0).all()
    extent = scales.abs() * sizes.flip(1)
    left = offsets[:, 0] - torch.where(scales[:, 0] < 0, extent[:, 0], 0.0)
    low = torch.stack((left, offsets[:, 1]), dim=1)
    room = SIZE - extent
    # smaller ones lie inside, larger ones leave nothing of the input empty
    assert ((low >= -1e-3) & (low <= room + 1e-3))[room >= 0].all()
    assert ((low <= 1e-3) & (low >= room - 1e-3))[room < 0].all()
    factor = (extent / sizes.flip(1)).prod(1).sqrt()
    assert SCALES[0] * 0.95 < factor.min() < SCALES[0] * 1.1
    assert SCALES[1] * 0.9 < factor.max() < SCALES[1] * 1.05
    assert 0.3 < ((factor - 1).abs() < 1e-3).float().mean() < 0.5
    ratio = (scales[:, 0] / scales[:, 1]).abs().log()
    assert ratio.abs().max() < math.log(1.18) + 1e-4 and (ratio.abs() > 0.05).float().mean() > 0.2


def test_equal_generators_give_equal_batches_and_others_do_not(tmp_path):
    print('seed', SEED)
    data = tiny_photo.photo_data(tmp_path)
    one, same, other = (make_batch(data, torch.arange(2), generator(s)) for s in (1, 1, 2))
    for name, value in vars(one).items():
        assert torch.equal(value, vars(same)[name]), name
    assert not torch.equal(one.inputs, other.inputs)


@pytest.mark.parametrize('augment', [False, True])
def test_photographs_without_objects_give_none_and_tiny_ones_are_left_out(tmp_path, augment):
    content = tiny_photo.write_set(tmp_path)
    content['annotations'] = content['annotations'][3:]
    tiny_photo.write_instances(tmp_path / 'set', content)
    data = tiny_photo.PhotoData(tiny_photo.load_photographs(tmp_path, ['set']))
    batch = make_batch(data, torch.tensor([0]), generator(), augment=augment)
    assert batch.inputs.shape == (1, 3, SIZE, SIZE)
    assert batch.bboxes.shape == (0, 4) and len(batch.masks) == len(batch.objects) == 0
    batch = make_batch(data, torch.tensor([0, 1]), generator(), augment=False)
    assert batch.image_index.tolist() == [1, 1, 1]
    masks = np.zeros((2, 100, 120), np.uint8)
    masks[0, 10:14, 10:14] = masks[1, 10:40, 10:40] = 1
    data = tiny_photo.data_of(np.zeros((2, 100, 120, 3), np.uint8), masks)
    batch = make_batch(data, torch.arange(2), generator(), augment=False)
    assert batch.objects.tolist() == [1]
