"""Contrastive training of a small CLIP."""

import pytest
import torch


def test_pictures_of_one_name_are_positives_of_each_other(build, monkeypatch):
    model = build('clip', templates=('{}',))
    embeddings = torch.nn.functional.one_hot(torch.tensor([0, 1, 0]), 4).float()
    monkeypatch.setattr(model.clip, 'encode_image', lambda *_, **__: embeddings)
    monkeypatch.setattr(model.clip, 'encode_text', lambda *_, **__: embeddings)
    model.clip.logit_scale.data.fill_(10.0)  # beyond the maximum, 100
    losses = model.loss(torch.zeros(3, 3, 96, 96), ['cat', 'dog', 'cat'])
    # Both captions of a cat share the probability, as the target does.
    want = 2 / 3 * torch.tensor(2.0).log() / 2
    assert torch.allclose(losses['loss_image'], want, atol=1e-5)
    assert torch.allclose(losses['loss_text'], want, atol=1e-5)
    assert losses['match_accuracy'] == 100


def test_embeddings_of_pictures_are_normalized(build):
    embeddings = build('clip')(torch.randn(2, 3, 96, 96), name=['cat', 'dog'])
    assert torch.allclose(embeddings.norm(dim=-1), torch.ones(2), atol=1e-5)


def test_tower_is_what_the_backbone_reads(build):
    clip, ovsam = build('clip'), build('ovsam')
    tower = {k: v for k, v in clip.clip.state_dict().items() if k.startswith('visual.')}
    ovsam.backbone.load_state_dict(tower)


def test_unknown_mode_is_refused(build):
    with pytest.raises(ValueError, match="not 'predict'"):
        build('clip')(torch.randn(1, 3, 96, 96), ['cat'], mode='predict')
