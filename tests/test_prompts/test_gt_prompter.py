"""Prompts from annotations."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData

from mmovsam.prompts import GTPrompter
from mmovsam.prompts.gt_prompter import deepest_point


def data_sample(masks, bboxes, img_id=1, **metainfo):
    masks = np.asarray(masks, dtype=np.uint8)
    sample = DetDataSample(metainfo=dict(img_id=img_id, img_path=f'{img_id}.png', **metainfo))
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor(bboxes, dtype=torch.float32).reshape(-1, 4),
        masks=BitmapMasks(masks, *masks.shape[1:]),
        labels=torch.zeros(len(masks), dtype=torch.int64),
    )
    return sample


def in_network(masks, bboxes, img_shape, side):
    """A sample whose image was resized and padded to a square."""
    return data_sample(masks, bboxes, img_shape=img_shape, batch_input_shape=(side, side))


@pytest.mark.parametrize('mode', ['box', 'center', 'random'])
def test_objects_are_prompted_in_order_without_a_label(mode):
    mask = np.zeros((9, 12), dtype=np.uint8)
    mask[1:8, 2:4] = mask[4:9, 2:9] = 1
    masks, bboxes = np.stack([mask, mask[:, ::-1]]), [[2, 1, 9, 9], [3, 1, 10, 9]]
    (prompts,) = GTPrompter(mode=mode)([data_sample(masks, bboxes)])
    assert prompts.annotated_bboxes.tolist() == bboxes
    assert prompts.labels is None and prompts.scores is None
    if mode == 'box':
        assert prompts.bboxes.tolist() == bboxes and prompts.point_coords is None
    else:
        assert prompts.bboxes is None and prompts.point_labels.tolist() == [[1], [1]]
        for i, (x, y) in enumerate(prompts.point_coords[:, 0].int().tolist()):
            assert masks[i, y, x] == 1


@given(arrays(np.bool_, st.tuples(st.integers(1, 8), st.integers(1, 8))))
def test_deepest_point_agrees_with_brute_force(mask):
    point = deepest_point(mask)
    if not mask.any():
        assert point is None
        return
    padded = np.pad(mask, 1)  # the image's edge counts as outside
    outside, inside = np.argwhere(~padded), np.argwhere(padded)
    depths = ((inside[:, None] - outside[None]) ** 2).sum(-1).min(1)
    y, x = inside[depths.argmax()] - 1
    assert point == (x, y)


def test_random_points_depend_on_seed_and_image_only():
    samples = [data_sample(np.ones((5, 40, 40)), [[0, 0, 40, 40]] * 5, i) for i in range(2)]

    def points(seed, samples):
        return [p.point_coords.tolist() for p in GTPrompter('random', seed)(samples)]

    forward = points(0, samples)
    assert points(0, samples[::-1]) == forward[::-1]
    assert forward[0] != forward[1] and points(1, samples) != forward


@pytest.mark.parametrize('mode', GTPrompter.MODES)
def test_empty_mask_is_prompted_by_its_box_and_an_image_without_objects_not_at_all(mode):
    sample = in_network(np.zeros((1, 16, 16)), [[4, 8, 12, 16]], (16, 16), 16)
    (prompts,) = GTPrompter(mode)([sample])
    if mode == 'mask':
        inside = (prompts.mask_input[0, 0] > 0).nonzero().tolist()
        assert inside == [[2, 1], [2, 2], [3, 1], [3, 2]]
    elif mode != 'box':
        assert prompts.point_coords.tolist() == [[[8, 12]]]
    samples = [data_sample(np.zeros((0, 9, 12)), []), DetDataSample(gt_instances=InstanceData())]
    assert [len(prompts) for prompts in GTPrompter(mode)(samples)] == [0, 0]


def test_mask_prompt_lies_where_the_object_is_in_the_networks_input():
    mask = np.zeros((1, 40, 80))
    mask[0, 20:, 40:60] = 1
    (prompts,) = GTPrompter('mask')([in_network(mask, [[40, 20, 60, 40]], (24, 48), 64)])
    assert prompts.bboxes is None and prompts.point_coords is None
    logits = prompts.mask_input[0, 0]
    assert logits.shape == (16, 16)  # a quarter of the input; the image fills 6 rows, 12 columns
    inside = torch.zeros(16, 16, dtype=torch.bool)
    inside[3:6, 6:9] = True
    assert torch.equal(logits > 0, inside)
    assert logits[4, 7] > 9.99 and (logits[8:] == -10).all()
    assert (logits[:, 13:] == -10).all(), 'padding is outside'


# What is missing is named


def without_masks():
    sample = data_sample(np.ones((1, 9, 12)), [[0, 0, 12, 9]])
    del sample.gt_instances.masks
    return sample


@pytest.mark.parametrize(
    ('config', 'sample', 'message'),
    [
        (dict(type='GTPrompter'), DetDataSample(), 'add LoadAnnotations'),
        (dict(type='GTPrompter', mode='center'), without_masks(), 'with_mask=True'),
        (
            dict(type='GTPrompter', mode='mask'),
            data_sample(np.ones((1, 9, 12)), [[0, 0, 12, 9]], img_shape=(9, 12)),
            'needs img_shape and batch_input_shape of 1.png',
        ),
        (
            dict(type='GTPrompter', mode='centre'),
            None,
            "'centre'; choose one of box, center, random, mask",
        ),
    ],
)
def test_what_is_missing_or_unknown_is_named(config, sample, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(config)([sample])
