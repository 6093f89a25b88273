"""Stage one: the adapter learns SAM's embedding."""

import pytest
import torch


def test_loss_is_the_mean_squared_difference_of_the_embeddings(build):
    model = build('distiller')
    inputs = torch.randn(2, 3, 96, 96)
    difference = model(inputs) - model.teacher(inputs)
    assert model(inputs).shape == (2, 32, 6, 6)
    loss = model(inputs, mode='loss')['loss_distill']
    assert torch.allclose(loss, difference.square().mean())


def test_neck_starts_with_the_teachers_position_embedding(build):
    model = build('distiller')
    model.init_weights()
    assert model.teacher.pos_embed.any()
    assert torch.equal(model.neck.pos_embed, model.teacher.pos_embed)


def test_a_teacher_of_another_width_leaves_the_position_alone(build):
    model = build('distiller', teacher=dict(embed_dim=16))
    model.init_weights()
    assert not model.neck.pos_embed.any()


def test_teacher_never_trains_whatever_its_config_says(build):
    model = build('distiller', teacher=dict(frozen=False)).train()
    assert not model.teacher.training
    assert not any(p.requires_grad for p in model.teacher.parameters())


def test_unknown_mode_is_refused(build):
    with pytest.raises(ValueError, match="not 'predict'"):
        build('distiller')(torch.randn(1, 3, 96, 96), mode='predict')
