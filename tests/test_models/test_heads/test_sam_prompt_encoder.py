"""SAM's prompt encoder; its values are compared with the original in test_sam_values.py."""

import pytest
import torch
from mmdet.registry import MODELS

from mmovsam.prompts import Prompts


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    config = dict(type='SAMPromptEncoder', embed_dim=16, image_size=64, mask_channels=8)
    return MODELS.build(config).eval()


@pytest.mark.parametrize('train_masks', [False, True])
def test_mask_branch_trains_only_where_it_is_asked_to(train_masks):
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


def test_positions_are_kept_until_weights_are_loaded_or_converted(encoder):
    first = encoder.dense_pe()
    assert encoder.dense_pe() is first
    state = encoder.state_dict()
    key = 'pe_layer.positional_encoding_gaussian_matrix'
    encoder.load_state_dict({**state, key: state[key] + 1})
    second = encoder.dense_pe()
    assert not torch.allclose(second, first)
    encoder.to(torch.float64)
    assert encoder.dense_pe().dtype == torch.float64
