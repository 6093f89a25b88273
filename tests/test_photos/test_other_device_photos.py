"""Training on photographs, and what the photo model does beside it, on a device of its own."""

import pytest
import tiny
import tiny_photo
import torch
from other_device import other_device

from mmovsam.apis import OVSAMPredictor
from mmovsam.photos import PhotoData, PhotoTrainer, load_photographs
from mmovsam.photos.crop_training import CropTrainer
from mmovsam.photos.encoded import EncodedPhotos
from mmovsam.photos.evaluation import evaluate_masks
from mmovsam.photos.name_training import read_regions, train_names
from mmovsam.photos.proposal_training import ProposalTrainer, evaluate_proposals
from mmovsam.photos.ranking import draw_candidates, train_ranker
from mmovsam.photos.region_names import RegionNames, crop_features
from mmovsam.photos.report import PhotoReport
from mmovsam.photos.window_training import WindowTrainer

SETTINGS = dict(steps=4, batch_size=2, warmup=2)


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Photographs on the device."""
    tiny_photo.set_canvas(monkeypatch)
    tiny_photo.write_set(tmp_path, 'coco_train')
    return PhotoData(load_photographs(tmp_path, ['coco_train']), 'meta', workers=1)


@pytest.fixture
def encoded(tmp_path, data, monkeypatch):
    # whose threads nobody watches
    monkeypatch.setattr('mmovsam.photos.encoded.module_fingerprint', lambda _: 'a tower')
    model = tiny_photo.build(**tiny_photo.WHOLE).to('meta')
    features = EncodedPhotos(tmp_path / 'encoded', data)
    with other_device():
        features.encode(model.backbone)
    return model, data, features


@pytest.mark.parametrize('trainer_type', [WindowTrainer, CropTrainer, ProposalTrainer])
def test_parts_of_a_photo_model_learn_on_one_device(encoded, trainer_type):
    with other_device() as work:
        trainer = trainer_type(*encoded, **SETTINGS)
        trainer.begin()
        found = [trainer.update(step / 4) for step in range(2)]
    assert all(value.is_meta for losses in found for value in losses.values())
    assert work.kernels


def test_a_tower_and_names_learn_on_one_device(data):
    with other_device():
        model = tiny_photo.build(backbone=dict(frozen=False)).to('meta')
        every = torch.arange(len(data.photographs.objects))
        with torch.no_grad():
            crops = model.backbone.project(
                crop_features(data, model.backbone.eval(), every).to('meta')
            )
        names = RegionNames(data, crops, torch.randn(7, tiny_photo.EMBED_DIM).to('meta')).to('meta')
        trainer = PhotoTrainer(model, data, names, clicks=1, max_objects=2, **SETTINGS)
        losses = trainer.update(0.0)
    assert {key for key, value in losses.items() if not value.is_meta} == set()


def test_what_was_learned_is_ranked_measured_and_named(encoded):
    model, data, _ = encoded
    with other_device():
        trainer = WindowTrainer(*encoded, **SETTINGS)
        candidates = draw_candidates(trainer, 2)
        train_ranker(model.window_decoder.ranker, candidates, epochs=1, batch_size=2)
        ious, recall = evaluate_masks(model, data), evaluate_proposals(model, data)
        views = read_regions(model, data, jitter=0.1)
        assert len(views) == 2
        rows, labels = torch.randn(3, tiny_photo.EMBED_DIM), torch.arange(len(views[0].names)) % 3
        taught = torch.ones(3, dtype=torch.bool)
        about = views[1], rows, labels, taught, tiny_photo.SIZE
        learned = train_names(model.region_namer, *about, epochs=1, batch_size=4)
    assert candidates.features.is_meta
    assert set(ious) == {'box', 'jitter', 'point', 'objects'} and set(recall)
    assert learned.device.type == 'cpu'  # on the host


def test_whole_photographs_are_named_by_a_model_on_a_device(tmp_path):
    tiny_photo.write_set(tmp_path, 'samples')
    wide = dict(embed_dim=256)
    parts = tiny.merged(tiny_photo.WHOLE, dict(backbone=wide, region_namer=wide, head=wide))
    predictor = OVSAMPredictor(tiny_photo.build(**parts).to('meta'))
    with other_device():
        found = PhotoReport(predictor, tmp_path, 'samples').whole_photographs('samples', splits=0)
    assert set(found) == {'imagenet_top1', 'imagenet_top5', 'imagenet_balanced'}
