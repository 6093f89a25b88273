"""Training of names."""

import pytest
import tiny_photo
import torch
import torch.nn.functional as F

from mmovsam.models.heads import RegionNamer
from mmovsam.photos.name_training import Regions, accuracy, read_regions, train_names

SEED = 13
WIDTH, MEANS, CLASSES = 16, 12, 6


def regions(num=400):
    """Regions whose class only the head's means tell, and random rows of names.

    Returns:
        Regions, labels `(num,)` and rows `(CLASSES + 2, WIDTH)`; no region has the last two names.
    """
    generator = torch.Generator().manual_seed(SEED)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    labels = torch.randint(CLASSES, (num,), generator=generator)
    means = normal(CLASSES, MEANS)[labels] + 0.3 * normal(num, MEANS)
    corners = torch.rand(num, 2, 2, generator=generator).sort(1).values.flatten(1) * 128
    names = [str(label) for label in labels.tolist()]
    own = Regions(normal(num, WIDTH), means, corners, names, ['set'] * num)
    return own, labels, F.normalize(normal(CLASSES + 2, WIDTH), dim=1)


def train(taught=None, labels=None, own=None, epochs=12):
    torch.manual_seed(0)
    namer = RegionNamer(WIDTH, MEANS, hidden=32, dropout=0.1)
    given, known, rows = regions()
    taught = torch.zeros(len(rows), dtype=torch.bool) if taught is None else taught
    labels = known if labels is None else labels
    settings = dict(epochs=epochs, batch_size=50, lr=8e-3)
    return namer, train_names(namer, own or given, rows, labels, taught, 128, **settings)


def test_namer_learns_regions_that_can_be_told_apart():
    print('seed', SEED)
    own, labels, rows = regions()
    named = train()[0](own.embeddings, own.means, own.bboxes, 128)
    assert accuracy(own.embeddings @ rows.T, labels)['top1'] < 40
    assert accuracy(named @ rows.T, labels)['top1'] > 90


def test_rows_of_taught_names_move_and_others_stay():
    print('seed', SEED)
    rows = regions()[2]
    taught = torch.arange(len(rows)) % 2 == 0
    moved = train(taught, epochs=5)[1]
    distance = (moved - rows).abs().amax(1)
    with_regions = torch.arange(len(rows)) < CLASSES
    assert (distance[taught & with_regions] > 1e-3).all()
    # that are not taught, or that no region has
    assert distance[~taught | ~with_regions].max() < 1e-6
    assert torch.allclose(moved.norm(dim=1), torch.ones(len(rows)))


def test_regions_without_a_label_teach_nothing():
    print('seed', SEED)
    own, labels, rows = regions()
    known = torch.arange(len(labels)) % 3 > 0
    labels = labels.where(known, -1)
    taught = torch.ones(len(rows), dtype=torch.bool)
    namer, moved = train(taught, labels, epochs=2)
    own.embeddings[~known] = own.means[~known] = torch.nan
    other, same = train(taught, labels, own, epochs=2)
    assert torch.equal(same, moved) and moved.isfinite().all()
    for name, value in other.state_dict().items():
        assert torch.equal(value, namer.state_dict()[name]), name


def test_accuracy_counts_the_best_the_five_best_and_each_class_alike():
    logits = torch.eye(8)[[0, 0, 0, 1]] + torch.linspace(0, 0.1, 8)
    got = accuracy(logits, torch.tensor([0, 0, 5, 2]))
    # 5 is among the five best, 2 is not; classes 0, 2 and 5 have 1, 0 and 0
    assert got == pytest.approx(dict(top1=50, top5=75, balanced=100 / 3))


def test_regions_are_seen_in_crops_too_and_names_are_learned_from_both(tmp_path, monkeypatch):
    print('seed', SEED)
    tiny_photo.set_canvas(monkeypatch)
    data = tiny_photo.photo_data(tmp_path, shapes=((90, 120), (128, 100)), names=('cat', 'dog'))
    parts = dict(tiny_photo.WINDOWS, region_namer=tiny_photo.NAMER)
    model = tiny_photo.build(**parts, region_crop=64)
    whole, crops = read_regions(model, data)
    assert whole.names == crops.names and whole.sources == crops.sources == ['set'] * 6
    (plain,) = read_regions(tiny_photo.build(**parts), data, batch_size=1)
    order, want = (each.bboxes.sum(1).argsort() for each in (whole, plain))
    for name in ('embeddings', 'means'):
        assert torch.allclose(getattr(whole, name)[order], getattr(plain, name)[want], atol=1e-4)
    assert [whole.names[i] for i in order] == [plain.names[i] for i in want]
    # a crop is 1.6 times as large as the longer side of the region, whose box it shows enlarged
    longer = (crops.bboxes[:, 2:] - crops.bboxes[:, :2]).amax(1)
    assert torch.allclose(longer, torch.full_like(longer, 128 / 1.6), atol=1e-2)
    assert not torch.allclose(crops.means, whole.means, atol=0.1)
    moved = read_regions(model, data, jitter=0.1)[1]
    assert not torch.allclose(moved.means, crops.means, atol=1e-3)
    assert (moved.bboxes - crops.bboxes).abs().max() > 1
