"""SAM's prompt encoder; its values are compared with the original in test_sam_values.py."""

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.registry import init_default_scope

from mmovsam.prompts import Prompts


@pytest.fixture
def encoder():
    init_default_scope('mmdet')
    torch.manual_seed(0)
    config = dict(type='SAMPromptEncoder', embed_dim=16, image_size=64, mask_channels=8)
    return MODELS.build(config).eval()


def test_boxes_give_two_tokens_and_one_dense_embedding_for_all(encoder):
    sparse, dense = encoder(Prompts(bboxes=torch.rand(3, 4)))
    assert sparse.shape == (3, 2, 16)
    assert dense.shape == (1, 16, 4, 4)


def test_points_without_a_box_get_a_padding_token(encoder):
    coords, labels = torch.rand(3, 2, 2) * 60, torch.tensor([[1, 0], [1, -1], [0, 0]])
    sparse, _ = encoder(Prompts(point_coords=coords, point_labels=labels))
    assert sparse.shape == (3, 3, 16)
    assert torch.allclose(sparse[:, 2], encoder.not_a_point_embed.weight.expand(3, -1))
    assert torch.allclose(sparse[1, 1], encoder.not_a_point_embed.weight[0])


def test_points_with_a_box_get_none(encoder):
    given = dict(point_coords=torch.rand(3, 1, 2), point_labels=torch.ones(3, 1))
    sparse, _ = encoder(Prompts(bboxes=torch.rand(3, 4), **given))
    assert sparse.shape == (3, 3, 16)


def test_masks_give_a_dense_embedding_each(encoder):
    prompts = Prompts(bboxes=torch.rand(3, 4), mask_input=torch.randn(3, 1, 16, 16))
    assert encoder(prompts)[1].shape == (3, 16, 4, 4)


def test_masks_alone_give_no_tokens(encoder):
    sparse, dense = encoder(Prompts(mask_input=torch.randn(3, 1, 16, 16)))
    assert sparse.shape == (3, 0, 16)
    assert dense.shape == (3, 16, 4, 4)


def test_pixels_are_taken_at_their_center(encoder):
    # The first place of the grid is the center of its 16 pixels: 7.5 in pixel indices.
    point = Prompts(point_coords=torch.full((1, 1, 2), 7.5), point_labels=torch.tensor([[1]]))
    sparse, _ = encoder(point)
    want = encoder.dense_pe()[0, :, 0, 0] + encoder.point_embeddings[1].weight[0]
    assert torch.allclose(sparse[0, 0], want, atol=1e-5)


def test_frozen_encoder_has_no_gradients():
    init_default_scope('mmdet')
    encoder = MODELS.build(dict(type='SAMPromptEncoder', embed_dim=16, image_size=64, frozen=True))
    assert not any(p.requires_grad for p in encoder.train().parameters())
    assert not encoder.training


@pytest.mark.parametrize('train_masks', [False, True])
def test_mask_branch_trains_only_where_it_is_asked_to(train_masks):
    init_default_scope('mmdet')
    config = dict(type='SAMPromptEncoder', embed_dim=16, image_size=64, train_masks=train_masks)
    encoder = MODELS.build(config)
    trained = {name.split('.')[0] for name, p in encoder.named_parameters() if p.requires_grad}
    assert ('mask_downscaling' in trained) == train_masks
    assert {'point_embeddings', 'not_a_point_embed', 'no_mask_embed'} <= trained


def test_masks_of_a_finer_decoder_are_averaged_to_the_size_of_the_branch(encoder):
    masks = torch.randn(2, 1, 16, 16)
    fine = masks.repeat_interleave(2, 2).repeat_interleave(2, 3)
    fine = fine + torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(16, 16)  # zero in the mean
    got = encoder(Prompts(mask_input=fine))[1]
    assert torch.allclose(got, encoder(Prompts(mask_input=masks))[1], atol=1e-5)
    assert torch.equal(got, encoder.embed_masks(fine))
