"""OVSAM with a decoder of windows or of high resolution, and a namer of regions."""

import pytest
import tiny
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


def finite(said):
    assert all(part.isfinite().all() for part in parts(said))


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
        finite(said)
    logits = together[False].low_res_logits.flatten(1)
    distances = torch.cdist(logits, logits, p=torch.inf)
    assert distances[~torch.eye(8, dtype=torch.bool)].min() > 1e-2


@pytest.mark.parametrize('several', [False, True])
def test_empty_set_of_prompts_has_an_empty_answer(model, features, several):
    said = model.recognize(features, Prompts.empty(), multimask_output=several)
    assert said.low_res_logits.shape == (0, 1, 128, 128)
    assert len(said.head_logits) == len(said.fused_logits) == 0
    found = model.predict_prompts(features, Prompts.empty(), META)
    assert found.masks.shape == (0, 60, 80) and found.bboxes.shape == (0, 4)


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


@pytest.mark.parametrize('both', [False, True])
def test_masks_come_from_windows_or_from_prompt_tokens(both):
    encoder = tiny_photo.MODEL['prompt_encoder']
    changes = dict(prompt_encoder=encoder) if both else dict(window_decoder=None)
    with pytest.raises(ValueError, match='either a prompt_encoder or a window_decoder'):
        tiny_photo.build(**(dict(tiny_photo.WINDOWS) | changes))


def test_windows_are_not_trained_by_a_loss_of_prompts(model):
    with pytest.raises(ValueError, match='train_photo'):
        model.loss(torch.zeros(1, 3, 128, 128), [])


def test_loss_trains_necks_and_head():
    model = tiny_photo.build().train()
    pairs = [tiny.sample(num=3, scale=1.6, training=True, seed=seed) for seed in range(2)]
    data = model.data_preprocessor(tiny.batch(*pairs), training=True)
    losses = model.loss(data['inputs'], data['data_samples'])
    sum(value for name, value in losses.items() if name.startswith('loss')).backward()
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (parameter.grad is not None), name
    for part in ('high_res_neck', 'neck', 'region_neck', 'head.region_proj', 'head.label_token'):
        grads = [p.grad.abs().sum() for p in model.get_submodule(part).parameters()]
        assert sum(grads) > 0, part
