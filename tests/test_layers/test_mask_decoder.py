"""SAM's mask decoder."""

import pytest
import torch

from mmovsam.layers import MaskDecoder

SMALL = dict(channels=16, num_heads=4, mlp_channels=32)


def decoder(**settings):
    torch.manual_seed(0)
    return MaskDecoder(**SMALL, **settings).eval()


def inputs(num=3):
    torch.manual_seed(1)
    return (
        torch.randn(1, 16, 6, 6),
        torch.randn(1, 16, 6, 6),
        torch.randn(num, 2, 16),
        torch.randn(1, 16, 1, 1).expand(-1, -1, 6, 6),
    )


@torch.no_grad()
def test_mask_logits_have_four_times_the_embeddings_side():
    decoded = decoder(num_masks=4, with_iou=True)(*inputs(), torch.randn(1, 16))
    assert decoded.low_res_logits.shape == (3, 4, 24, 24)
    assert decoded.iou_predictions.shape == (3, 4)
    assert decoded.extra_tokens.shape == (3, 1, 16)


@torch.no_grad()
def test_dense_embedding_shared_equals_one_for_each_prompt():
    model = decoder()
    image, image_pe, sparse, dense = inputs()
    shared = model(image, image_pe, sparse, dense).low_res_logits
    repeated = model(image, image_pe, sparse, dense.repeat(3, 1, 1, 1))
    assert repeated.iou_predictions is None and repeated.extra_tokens.shape == (3, 0, 16)
    repeated = repeated.low_res_logits
    assert torch.allclose(shared, repeated, atol=1e-5)


@pytest.mark.parametrize('prefix', ['', 'head.mask_decoder.'])
def test_first_of_four_masks_is_read_strictly_at_any_depth(prefix):
    four, one = decoder(num_masks=4), decoder(num_masks=1)
    torch.nn.init.normal_(four.mask_tokens.weight)
    holder = one
    for name in reversed(prefix.split('.')[:-1]):
        holder = torch.nn.ModuleDict({name: holder})
    state_dict = {prefix + name: value for name, value in four.state_dict().items()}
    holder.load_state_dict(state_dict)
    assert len(state_dict[f'{prefix}mask_tokens.weight']) == 4  # the caller's own stays as it is
    assert torch.equal(one.mask_tokens.weight, four.mask_tokens.weight[:1])
    first = four.output_hypernetworks_mlps[0].state_dict()
    for name, value in one.output_hypernetworks_mlps[0].state_dict().items():
        assert torch.equal(value, first[name])
