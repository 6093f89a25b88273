"""Training of proposals."""

import pytest
import tiny_photo
import torch

from mmovsam.models.heads import ProposalHead
from mmovsam.photos import PhotoData, load_photographs
from mmovsam.photos.encoded import EncodedPhotos
from mmovsam.photos.proposal_training import ProposalTrainer, assign

SEED = 7
PARTS = dict(tiny_photo.WINDOWS, proposal_head=tiny_photo.PROPOSALS)


@pytest.fixture(autouse=True)
def small_canvas(monkeypatch):
    tiny_photo.set_canvas(monkeypatch)


@pytest.fixture
def data(tmp_path):
    for name in ('full', 'part'):
        tiny_photo.write_set(tmp_path / 'photos', name, shapes=((90, 120), (128, 100)) * 2)
    return PhotoData(load_photographs(tmp_path / 'photos', ['full', 'part']), workers=1)


@pytest.fixture
def trainer(data, tmp_path):
    print('seed', SEED)
    model = tiny_photo.build(**PARTS)
    features = EncodedPhotos(tmp_path / 'encoded', data)
    features.encode(model.backbone)
    settings = dict(batch_size=4, steps=60, lr=5e-3, tower_lr=1e-9, warmup=5, seed=SEED)
    return ProposalTrainer(model, data, features, complete=('full',), **settings)


def test_objects_belong_to_the_level_of_their_size_near_their_center():
    places, strides = ProposalHead(image_size=512).places()
    bboxes = torch.tensor([[96.0, 96, 150, 150], [0, 0, 400, 300], [100, 100, 126, 126]])
    chosen, inside = assign(places, strides, bboxes)
    # the large object is proposed on the coarsest level
    assert strides[chosen == 1].unique().tolist() == [32]
    assert (places[chosen == 1] - torch.tensor([200.0, 150])).abs().max() < 48
    # of two small ones at a position the smaller one
    small = (chosen == 0) | (chosen == 2)
    assert strides[small].unique().tolist() == [8]
    assert (places[chosen == 2] - 113).abs().max() < 12
    assert (chosen == 0).any() and (places[chosen == 0] - 123).abs().max() < 12
    whole = (places[:, 0] < 400) & (places[:, 1] < 300)
    assert torch.equal(inside, whole)
    nobody, nowhere = assign(places, strides, torch.zeros(0, 4))
    assert (nobody == -1).all() and not nowhere.any()


def test_proposals_learn_to_find_and_only_they_learn(trainer, data):
    trainer.begin()
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    untrained = trainer.measure(data)
    for step in range(60):
        losses = trainer.update(step / 60)
        assert losses['mask'].isfinite()
    trained = trainer.measure(data)
    assert trained['recall_30'] > max(0.6, untrained['recall_30'] + 0.2), (untrained, trained)
    assert trained['recall_30'] <= trained['recall_50'] <= trained['recall_100'] <= 1
    changed = {
        name.split('.')[0]
        for name, value in trainer.model.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert changed == {'proposal_head'}


def test_what_is_not_annotated_is_no_background(trainer):
    """Gradients of scores come from photographs of complete sets alone, but near objects."""
    head = trainer.model.proposal_head
    trainer.bboxes = [each[:0] for each in trainer.bboxes]  # no objects are known
    for image, teaches in ((0, True), (4, False)):
        trainer.image_weights[:] = 0
        trainer.image_weights[image] = 1
        head.zero_grad()
        losses = trainer.losses(*(torch.Generator().manual_seed(0) for _ in range(2)))
        assert (losses['mask'] > 0) == teaches
