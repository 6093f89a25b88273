"""Simulated prompts."""

import cv2
import numpy as np
import pytest
import tiny_photo
import torch

from mmovsam.photos.interaction import Interaction, depth_of, draw_inside, draw_positions
from mmovsam.prompts import Prompts

SEED = 10


def generator():
    return torch.Generator().manual_seed(SEED)


# Depth and positions


def test_depth_lies_between_the_chessboards_and_the_city_blocks_and_weighs_positions():
    print('seed', SEED)
    noise = torch.rand(4, 1, 6, 7, generator=generator())
    masks = torch.nn.functional.interpolate(noise, (40, 50), mode='bilinear')[:, 0] > 0.4
    depth = depth_of(masks)
    for got, mask in zip(depth.numpy(), masks.numpy()):
        padded = np.pad(mask, 1).astype(np.uint8)  # the edge of the map is an edge
        low, high = (
            cv2.distanceTransform(padded, kind, 3)[1:-1, 1:-1] for kind in (cv2.DIST_C, cv2.DIST_L1)
        )
        assert (low <= got).all() and (got <= high).all()
        assert np.array_equal(got > 0, mask)
    assert depth.max() > 4

    weights = torch.zeros(4000, 3, 4)  # and positions are drawn as often as theirs say
    weights[:, 0, 1], weights[:, 2, 3], weights[:, 1, 0] = 1, 2, 5
    x, y = draw_positions(weights, generator()).unbind(1)
    shares = torch.bincount(y * 4 + x, minlength=12) / 4000
    assert torch.allclose(shares, weights[0].flatten() / 8, atol=0.03)


# Interactions


@pytest.fixture(scope='module')
def model():
    return tiny_photo.build()


@pytest.fixture(scope='module')
def features(model):
    with torch.no_grad():
        return model.extract_feat(torch.randn(2, 3, 128, 128, generator=generator()))


def objects():
    """Masks `(4, 64, 64)` at the size of the logits, boxes and photographs."""
    masks = torch.zeros(4, 64, 64)
    masks[0, 10:30, 20:50] = masks[1, 5:20, 5:20] = masks[2, 40:60, 8:30] = masks[3, 1:9, 50:60] = 1
    sides = [[20, 10, 50, 30], [5, 5, 20, 20], [8, 40, 30, 60], [50, 1, 60, 9]]
    return masks, torch.tensor(sides) * 2.0, torch.tensor([0, 1, 1, 0])


def begin(model, features, with_box):
    masks, bboxes, image_index = objects()
    with_box = torch.tensor(with_box)
    return Interaction(model, features, image_index, masks, bboxes, with_box, generator())


def recorded(monkeypatch):
    """Points, in pixels of the input, that are drawn from now on."""
    points = []

    def drawn(depth, generator):
        positions = draw_inside(depth, generator)
        points.append(2 * positions + 0.5)
        return positions

    monkeypatch.setattr('mmovsam.photos.interaction.draw_inside', drawn)
    return points


@torch.no_grad()
@pytest.mark.parametrize('clicks', [0, 2])
@pytest.mark.parametrize('with_mask', [False, True])
def test_prompts_are_decoded_as_the_model_decodes_them(
    model, features, clicks, with_mask, monkeypatch
):
    print('seed', SEED)
    points, with_box = recorded(monkeypatch), [True, False, True, False]
    masks, bboxes, image_index = objects()
    session = begin(model, features, with_box)
    wrong = torch.ones(4, 64, 64)
    for _ in range(clicks):
        session.click(wrong)  # much is too much: the label is 0
    mask_input = 3 * torch.randn(4, 1, 64, 64) if with_mask else None
    got = session.decode(mask_input)
    for i, box in enumerate(with_box):
        own = points[1:] if box else points
        labels = [0] * clicks if box else [1] + [0] * clicks
        prompt = dict(bboxes=bboxes[i : i + 1]) if box else {}
        if labels:
            prompt['point_coords'] = torch.stack([each[i] for each in own])[None]
            prompt['point_labels'] = [labels]
        if with_mask:
            prompt['mask_input'] = mask_input[i : i + 1]
        image = features.image(int(image_index[i]))
        for several, chosen in ((False, slice(0, 1)), (True, slice(1, None))):
            want = model.decode_masks(image, Prompts(**prompt), several)
            assert torch.allclose(got.low_res_logits[i, chosen], want.low_res_logits[0], atol=1e-4)
            assert torch.allclose(
                got.iou_predictions[i, chosen], want.iou_predictions[0], atol=1e-4
            )
        assert torch.allclose(got.extra_tokens[i], want.extra_tokens[0], atol=1e-4)


def test_clicks_are_foreground_where_masks_lack_and_background_where_they_are_too_large(
    model, features, monkeypatch
):
    print('seed', SEED)
    masks = objects()[0] > 0
    session, points = begin(model, features, [True] * 4), recorded(monkeypatch)
    labels, embed = [], model.prompt_encoder._embed_points
    monkeypatch.setattr(
        model.prompt_encoder,
        '_embed_points',
        lambda coords, own: labels.append(own) or embed(coords, own),
    )
    found = masks.clone()
    found[0] = found[2, 40:58] = False  # all or a little is missing
    found[1, 30:60, 30:60] = found[2, 10:13, 10:13] = True  # much, and less, is too much
    for _ in range(6):
        session.click(torch.where(found, 1.0, -1.0))
        x, y = ((points[-1] + 0.5) / 2).long().unbind(1)
        where = torch.arange(4)
        assert labels[-1][:, 0].tolist() == [1, 0, 1, 1]
        assert (found ^ masks)[where, y, x].tolist() == [True, True, True, False]
        assert masks[where, y, x].tolist() == [True, False, True, True]  # the last is right
    assert torch.cat(session.tokens, 1).shape == (4, 8, tiny_photo.WIDTH)
