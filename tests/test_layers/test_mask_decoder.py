"""SAM's mask decoder with fine maps of the image and maps of the prompts.

Without them its values are compared with the original's in test_sam_values.py.
"""

import pytest
import torch

from mmovsam.layers import MaskDecoder, prompt_maps

CHANNELS, SIDE = 32, 4


def decoder(**settings):
    torch.manual_seed(0)
    settings = dict(num_masks=4, with_iou=True, high_resolution=True, **settings)
    return MaskDecoder(channels=CHANNELS, num_heads=4, mlp_channels=32, **settings).eval()


def inputs(num=5, images=1):
    """Image, its positions, sparse and dense embeddings, and fine maps."""
    generator = torch.Generator().manual_seed(1)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    # 8, 4 and 2 times the side, with a 16th, an 8th and a quarter of the channels
    levels = [normal(images, CHANNELS // (2 * f), SIDE * f, SIDE * f) for f in (8, 4, 2)]
    return dict(
        image_embedding=normal(images, CHANNELS, SIDE, SIDE),
        image_pe=normal(1, CHANNELS, SIDE, SIDE),
        sparse_embeddings=normal(num, 2, CHANNELS),
        dense_embeddings=normal(1, CHANNELS, 1, 1).expand(-1, -1, SIDE, SIDE),
        high_res_maps=levels,
    )


def maps(num=5):
    size, generator = 8 * SIDE, torch.Generator().manual_seed(2)
    corners = torch.rand(num, 2, 2, generator=generator).sort(1).values.flatten(1) * size
    masks = torch.randn(num, 1, size, size, generator=generator)
    return prompt_maps(corners, masks, num, size, 1.0)


@pytest.mark.parametrize('painted', [False, True])
def test_prompts_that_share_an_image_get_what_those_with_one_each_get(painted):
    model, shared = decoder(), inputs()
    painted = maps() if painted else None
    each = dict(shared, image_embedding=shared['image_embedding'].repeat(5, 1, 1, 1))
    each['high_res_maps'] = [level.repeat(5, 1, 1, 1) for level in shared['high_res_maps']]
    each['dense_embeddings'] = shared['dense_embeddings'].repeat(5, 1, 1, 1)
    one, other = model(**shared, prompt_maps=painted), model(**each, prompt_maps=painted)
    for got, want in zip(one[:2], other[:2]):
        assert torch.allclose(got, want, atol=1e-5)
    assert one.low_res_logits.std() > 1e-3
    assert one.low_res_logits.shape == (5, 4, 8 * SIDE, 8 * SIDE)
    with torch.no_grad():  # what inference gives, to no prompts too
        plain = model(**shared, prompt_maps=painted).low_res_logits
        none = model(**inputs(0), prompt_maps=maps(0))
    assert torch.allclose(plain, one.low_res_logits, atol=1e-5)
    assert none.low_res_logits.shape == (0, 4, 8 * SIDE, 8 * SIDE)
    assert none.iou_predictions.shape == (0, 4)


@torch.no_grad()
def test_maps_of_prompts_and_of_the_image_change_the_masks_and_maps_of_zeros_do_not():
    model, given, painted = decoder(), inputs(), maps()
    plain = model(**given).low_res_logits
    assert torch.allclose(
        model(**given, prompt_maps=torch.zeros_like(painted)).low_res_logits, plain, atol=1e-6
    )
    for kind in range(2):
        only = torch.zeros_like(painted)
        only[:, kind] = painted[:, kind]
        changed = model(**given, prompt_maps=only).low_res_logits
        assert (changed - plain).abs().amax((1, 2, 3)).min() > 1e-3
    for level in range(3):
        levels = list(given['high_res_maps'])
        levels[level] = torch.zeros_like(levels[level])
        changed = model(**dict(given, high_res_maps=levels)).low_res_logits
        assert (changed - plain).abs().max() > 1e-3


@torch.no_grad()
def test_fine_maps_act_where_they_are():
    # each step of upscaling makes a square of a position and mixes no two of them
    model, given = decoder(), inputs(1)
    plain = model(**given).low_res_logits
    for level, side in ((0, 1), (1, 2), (2, 4)):
        levels = [each.clone() for each in given['high_res_maps']]
        levels[level][:, :, 3, 5] += 1
        changed = model(**dict(given, high_res_maps=levels)).low_res_logits != plain
        where = changed[0].any(0).nonzero()
        assert len(where)
        assert (where // side == torch.tensor([3, 5])).all()


@pytest.mark.parametrize('prefix', ['', 'head.mask_decoder.'])
def test_first_of_four_masks_is_read_strictly_at_any_depth(prefix):
    four, one = (MaskDecoder(16, num, num_heads=4, mlp_channels=32) for num in (4, 1))
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
