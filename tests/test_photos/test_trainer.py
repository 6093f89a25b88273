"""The training loop for photographs."""

import pytest
import tiny_photo
import torch
from torch.utils._pytree import tree_flatten_with_path

from mmovsam.photos import PhotoTrainer
from mmovsam.photos.region_names import RegionNames

SEED = 12
SETTINGS = dict(steps=4, batch_size=2, clicks=1, max_objects=2, warmup=2, seed=SEED)


@pytest.fixture
def data(tmp_path, monkeypatch):
    tiny_photo.set_canvas(monkeypatch)
    return tiny_photo.photo_data(tmp_path / 'data', shapes=((90, 120), (128, 100), (80, 128)))


def make(data, with_names=True, **settings):
    model = tiny_photo.build(backbone=dict(frozen=False))
    names = None
    if with_names:
        count = len(data.photographs.objects)
        torch.manual_seed(1)
        crops = torch.randn(count, tiny_photo.EMBED_DIM)
        names = RegionNames(data, crops, torch.randn(7, tiny_photo.EMBED_DIM))
    return PhotoTrainer(model, data, names, **{**SETTINGS, **settings})


def unequal(one, other):
    """Names of tensors that are not the same to the bit."""
    states = [
        {
            f'{part} {names}': value
            for part in ('model', 'averaged', 'names', 'optimizer')
            for names, value in tree_flatten_with_path(getattr(each, part).state_dict())[0]
            if isinstance(value, torch.Tensor)
        }
        for each in (one, other)
    ]
    assert states[0].keys() == states[1].keys()
    return [name for name, value in states[0].items() if not torch.equal(value, states[1][name])]


def test_stopped_training_goes_on_to_the_same_bits(data, tmp_path):
    print('seed', SEED)
    whole = make(data)
    whole.train(tmp_path / 'whole', log_every=2)
    stopped = make(data)
    for step in range(2):
        stopped.update(step / 4)
    stopped.save(tmp_path / 'state.pth')
    resumed = make(data)
    resumed.resume(tmp_path / 'state.pth')
    assert resumed.step == 2 and unequal(resumed, stopped) == []
    assert unequal(resumed, whole)
    resumed.train(tmp_path / 'resumed')
    assert whole.step == resumed.step == 4
    assert unequal(resumed, whole) == []
    assert (tmp_path / 'whole/log.txt').read_text().startswith('step 2 ')
    stopped.resume(tmp_path / 'whole/state.pth')  # which is kept at the end
    assert unequal(stopped, whole) == []


def test_everything_that_trains_learns_and_nothing_becomes_infinite(data):
    print('seed', SEED)
    trainer = make(data)
    before = {name: value.clone() for name, value in trainer.model.named_parameters()}
    rows = trainer.names.classes.weight.detach().clone()
    for _ in range(2):
        losses = trainer.update(0.0)
        assert all(value.isfinite() for value in losses.values())
    assert {'mask', 'head_crop', 'head_label', 'tower_crop', 'tower_label'} < losses.keys()
    stayed = [
        name
        for name, value in trainer.model.named_parameters()
        if value.requires_grad and torch.equal(value, before[name])
    ]
    # background clicks are rare, no object is so large that coarse maps of regions are read, and
    # what is added to all keys changes no softmax
    rare = ('k_proj.bias', 'point_embeddings.0.weight', 'fpn_convs.1.conv', 'fpn_convs.2.conv')
    assert [name for name in stayed if not any(each in name for each in rare)] == []
    assert not torch.equal(trainer.names.classes.weight, rows)
    assert all(value.isfinite().all() for value in trainer.model.state_dict().values())


def test_tower_without_a_rate_stays(data):
    trainer = make(data, with_names=False, tower_lr=0)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.update(0.0)
    moved = {n for n, v in trainer.model.state_dict().items() if not torch.equal(v, before[n])}
    parts = {name.split('.')[0] for name in moved}
    assert 'neck' in parts and 'backbone' not in parts


def test_batches_without_masks_teach_names_only_and_leave_finite_weights(data):
    print('seed', SEED)
    trainer = make(data)
    data.has_mask[:] = False
    losses = trainer.update(0.0)
    assert losses['mask'] == 0 and losses['head_label'] > 0
    data.masks[:] = data.areas[:] = 0  # nothing is left
    trainer.update(0.0)
    assert all(value.isfinite().all() for value in trainer.model.state_dict().values())
