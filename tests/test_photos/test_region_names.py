"""What regions learn of names, and how masks are measured."""

import pytest
import tiny_photo
import torch
import torch.nn.functional as F

from mmovsam.photos import make_batch
from mmovsam.photos.region_names import CROP_SIZE, RegionNames, crop_regions
from mmovsam.photos.tower import name_space

SEED = 14
WIDTH = tiny_photo.EMBED_DIM


@pytest.fixture
def data(tmp_path, monkeypatch):
    tiny_photo.set_canvas(monkeypatch)
    return tiny_photo.photo_data(tmp_path, names=('red cat', 'object', 'dog'))


@pytest.fixture(scope='module')
def model():
    return tiny_photo.build()


def names_of(data, **kwargs):
    torch.manual_seed(SEED)
    crops = torch.randn(len(data.photographs.objects), WIDTH)
    return RegionNames(data, crops, torch.randn(9, WIDTH), **kwargs)


def test_labels_are_the_names_that_are_taught(data):
    assert names_of(data).names == ['dog', 'red cat']
    assert names_of(data).labels.tolist() == [1, -1, 0, 1, -1, 0]
    without = names_of(data, without=['cat'])
    assert without.names == ['dog'] and without.labels.tolist() == [-1, -1, 0, -1, -1, 0]
    data.photographs.sources[1] = 'imagenet_samples'
    assert names_of(data).labels.tolist() == [1, -1, 0, -1, -1, -1]


def test_regions_like_their_crops_and_labels_have_smaller_losses(data):
    print('seed', SEED)
    names = names_of(data)
    right = names.crops
    seen = torch.ones(6)
    assert names._distillation(right, right, seen) < 1e-4
    assert names._distillation(right.roll(1, 0), right, seen) > 0.5
    half = torch.tensor([1.0, 1, 1, 0, 0, 0])  # those that are hardly in the image do not count
    mixed = torch.cat((right[:3], right[3:].roll(1, 0)))
    assert names._distillation(mixed, right, half) < 1e-4
    objects = torch.arange(6)
    rows = F.normalize(names.classes.weight.detach(), dim=1)
    told = rows[names.labels.clamp(min=0)]
    assert names._classification(told, objects) < names._classification(-told, objects) - 1
    unlabeled = torch.tensor([1, 4])
    assert names._classification(told[unlabeled], unlabeled) == 0


def test_losses_reach_both_embeddings(data, model):
    batch = make_batch(data, torch.arange(2), torch.Generator().manual_seed(SEED), augment=False)
    with torch.no_grad():
        features = model.extract_feat(batch.inputs)
    tokens = torch.randn(len(batch.masks), 1, tiny_photo.WIDTH)
    losses = names_of(data)(model, features, batch, tokens)
    assert set(losses) == {'head_crop', 'head_label', 'tower_crop', 'tower_label'}
    assert all(value.isfinite() and value > 0 for value in losses.values())


def test_crops_have_the_object_in_the_middle_and_gray_outside(data):
    data.images[:] = 255
    crops = crop_regions(data, torch.arange(6))
    assert crops.shape == (6, 3, CROP_SIZE, CROP_SIZE)
    middle = CROP_SIZE // 2
    assert torch.allclose(crops[:, :, middle, middle], torch.ones(6, 3))
    assert ((crops > -1e-6) & (crops < 1 + 1e-6)).all()


def test_space_of_names_has_the_leading_directions():
    print('seed', SEED)
    generator = torch.Generator().manual_seed(SEED)
    basis = torch.linalg.qr(torch.randn(20, 3, generator=generator)).Q.T
    rows = torch.randn(50, 3, generator=generator) @ basis + 5
    directions = name_space(rows, 3)
    assert torch.allclose(directions @ directions.T, torch.eye(3), atol=1e-5)
    centered = rows - rows.mean(0)
    assert torch.allclose(centered @ directions.T @ directions, centered, atol=1e-4)
    assert (directions.gather(1, directions.abs().argmax(1, keepdim=True)) > 0).all()
