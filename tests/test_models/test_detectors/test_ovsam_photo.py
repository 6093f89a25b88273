"""OVSAM with a decoder of windows or of high resolution, and a namer of regions."""

import pytest
import tiny_photo
import torch

from mmovsam.prompts import Prompts

SEED = 6
PARTS = dict(tiny_photo.WINDOWS, region_namer=tiny_photo.NAMER)
META = dict(ori_shape=(60, 80), img_shape=(96, 128), scale_factor=(1.6, 1.6))
KINDS = ['box', 'point', 'points', 'mask', 'box and point', 'box and mask', 'point and mask', 'all']


def trained(**changes):
    """A model whose new parts do something, as after training."""
    model = tiny_photo.build(**changes)
    if model.region_namer is not None:
        torch.nn.init.normal_(model.region_namer.lin2.weight, std=0.3)
    return model


@pytest.fixture(scope='module')
def model():
    return trained(**PARTS)


def features_of(model):
    inputs = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(SEED))
    with torch.no_grad():
        return model.extract_feat(inputs)


@pytest.fixture(scope='module')
def features(model):
    return features_of(model)


@pytest.fixture(scope='module')
def together(model, features):
    """What prompts of all kinds get at once, by whether each gets several masks."""
    return {
        several: model.recognize(features, mixed(), multimask_output=several)
        for several in (False, True)
    }


def mixed(num=8):
    """Prompts of every kind in the network's frame, in the order of `KINDS`."""
    generator = torch.Generator().manual_seed(SEED)
    corners = (torch.rand(num, 2, 2, generator=generator) * 100 + 10).sort(1).values.flatten(1)
    corners[:, 2:] += 12
    coords = torch.rand(num, 2, 2, generator=generator) * 120
    labels = torch.tensor([[1, 0]]).repeat(num, 1)
    masks = 3 * torch.randn(num, 1, 8, 8, generator=generator)
    masks = torch.nn.functional.interpolate(masks, (128, 128), mode='bilinear')
    for i, kind in enumerate(KINDS):
        if 'box' not in kind and kind != 'all':
            corners[i] = torch.nan
        if 'point' not in kind and kind != 'all':
            labels[i] = -1
        if kind == 'point':
            labels[i, 1] = -1
        if 'mask' not in kind and kind != 'all':
            masks[i] = torch.nan
    return Prompts(bboxes=corners, point_coords=coords, point_labels=labels, mask_input=masks)


def parts(said):
    """All tensors of an answer."""
    *own, regions = said
    return [part for part in (*own, *(regions or ())) if part is not None]


@pytest.mark.parametrize('kind', KINDS)
def test_prompt_gets_alone_what_it_gets_among_others_with_placeholders_or_without(
    model, features, together, kind
):
    print('seed', SEED)
    i = KINDS.index(kind)
    ((_, bare),) = mixed()[i].groups()
    for several, prompt in ((False, mixed()[i]), (True, mixed()[i]), (False, bare)):
        alone = model.recognize(features, prompt, multimask_output=several)
        count = 3 if several else 1
        for got, want in zip(parts(alone), parts(together[several])):
            want = want[i * count : (i + 1) * count]
            assert torch.allclose(got.float(), want.float(), rtol=1e-3, atol=1e-4)


def test_answers_have_their_shapes_and_differ(together):
    print('seed', SEED)
    for several, said in together.items():
        count = 24 if several else 8
        assert said.low_res_logits.shape == (count, 1, 128, 128)
        assert said.iou_predictions.shape == (count,)
        assert said.head_logits.shape == said.clip_logits.shape == (count, 7)
        assert all(part.isfinite().all() for part in parts(said))
    logits = together[False].low_res_logits.flatten(1)
    distances = torch.cdist(logits, logits, p=torch.inf)
    assert distances[~torch.eye(8, dtype=torch.bool)].min() > 1e-2


def test_masks_are_in_windows_around_the_boxes(model, features):
    prompts = Prompts(bboxes=torch.tensor([[20.0, 30.0, 60.0, 70.0]]))
    with torch.no_grad():
        near = model.decode_masks(features, prompts).low_res_logits[0, 0]
    inside = torch.zeros(128, 128, dtype=torch.bool)
    inside[22:78, 12:68] = True  # 40 pixels, and 8 around them
    torch.testing.assert_close(near[~inside], torch.full_like(near[~inside], -10.0))
    assert (near[inside] > -9).all()


def test_window_is_around_the_box_or_the_earlier_mask_and_the_points(model, features):
    earlier = torch.full((3, 1, 128, 128), torch.nan)
    earlier[1:] = -1.0
    earlier[1:, 0, 80:100, 10:50] = 1.0
    prompts = Prompts(
        bboxes=[[20.0, 30.0, 60.0, 70.0], *[[torch.nan] * 4] * 2],
        point_coords=[[[5.0, 5.0]], [[20.0, 90.0]], [[100.0, 90.0]]],
        point_labels=[[1], [1], [1]],
        mask_input=earlier,
    )
    seen = []
    hook = model.window_decoder.register_forward_hook(lambda _, args, out: seen.append(args[1]))
    with torch.no_grad():
        model.decode_masks(features, prompts)
    hook.remove()
    (got,) = seen
    assert got.bboxes.tolist() == [[20, 30, 60, 70], [10, 80, 50, 100], [10, 80, 100, 100]]
    assert got.given.tolist() == [True, False, False]
    assert not got.previous[0].any() and torch.equal(got.previous[1:], earlier[1:])


def test_masks_come_from_windows_or_from_prompt_tokens_whose_losses_train_no_windows(model):
    encoder = tiny_photo.MODEL['prompt_encoder']
    for changes in (dict(prompt_encoder=encoder), dict(window_decoder=None)):
        with pytest.raises(ValueError, match='either a prompt_encoder or a window_decoder'):
            tiny_photo.build(**(dict(tiny_photo.WINDOWS) | changes))
    with pytest.raises(ValueError, match='train_photo'):
        model.loss(torch.zeros(1, 3, 128, 128), [])
