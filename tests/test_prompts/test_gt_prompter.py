import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData

from mmovsam.models.heads import SAMPromptEncoder
from mmovsam.prompts import GTPrompter
from mmovsam.prompts.gt_prompter import deepest_point


def data_sample(masks, bboxes, img_id=1):
    masks = np.asarray(masks, dtype=np.uint8)
    sample = DetDataSample(metainfo=dict(img_id=img_id, img_path=f'{img_id}.png'))
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor(bboxes, dtype=torch.float32).reshape(-1, 4),
        masks=BitmapMasks(masks, *masks.shape[1:]),
        labels=torch.zeros(len(masks), dtype=torch.int64),
    )
    return sample


def l_shape():
    mask = np.zeros((9, 12), dtype=np.uint8)
    mask[1:8, 2:4] = 1
    mask[4:9, 2:9] = 1
    return mask


def test_box_mode_gives_the_annotated_boxes_in_order_and_no_label():
    bboxes = [[5, 5, 9, 8], [0, 0, 3, 3], [2, 1, 7, 4]]
    (prompts,) = GTPrompter()([data_sample(np.ones((3, 9, 12)), bboxes)])
    assert prompts.bboxes.tolist() == bboxes
    assert prompts.labels is None and prompts.scores is None and prompts.point_coords is None


@pytest.mark.parametrize('mode', ['box', 'center', 'random'])
def test_annotated_boxes_go_along_with_every_prompt(mode):
    bboxes = [[5, 5, 9, 8], [0, 0, 3, 3]]
    (prompts,) = GTPrompter(mode=mode)([data_sample(np.ones((2, 9, 12)), bboxes)])
    assert prompts.annotated_bboxes.tolist() == bboxes


@given(arrays(np.bool_, st.tuples(st.integers(1, 8), st.integers(1, 8))))
def test_deepest_point_agrees_with_brute_force(mask):
    point = deepest_point(mask)
    if not mask.any():
        assert point is None
        return
    padded = np.pad(mask, 1)
    outside = np.argwhere(~padded)
    inside = np.argwhere(padded)
    depths = ((inside[:, None] - outside[None]) ** 2).sum(-1).min(1)
    y, x = inside[depths.argmax()] - 1
    assert point == (x, y)


@pytest.mark.parametrize('mode', ['center', 'random'])
def test_points_lie_inside_their_own_mask(mode):
    mask = l_shape()
    masks = np.stack([mask, mask[:, ::-1]])
    (prompts,) = GTPrompter(mode=mode)([data_sample(masks, [[2, 1, 9, 9], [3, 1, 10, 9]])])
    assert prompts.point_coords.shape == (2, 1, 2)
    assert prompts.point_labels.tolist() == [[1], [1]]
    assert prompts.bboxes is None
    for i, (x, y) in enumerate(prompts.point_coords[:, 0].int().tolist()):
        assert masks[i, y, x] == 1


def test_random_points_depend_on_seed_and_image_only():
    samples = [data_sample(np.ones((5, 40, 40)), [[0, 0, 40, 40]] * 5, i) for i in range(2)]

    def points(seed, samples):
        return [p.point_coords.tolist() for p in GTPrompter('random', seed)(samples)]

    forward = points(0, samples)
    assert points(0, samples[::-1]) == forward[::-1]
    assert forward[0] != forward[1]
    assert points(1, samples) != forward


@pytest.mark.parametrize('mode', ['center', 'random'])
def test_empty_mask_is_prompted_by_the_center_of_its_box(mode):
    (prompts,) = GTPrompter(mode)([data_sample(np.zeros((1, 9, 12)), [[2, 1, 8, 5]])])
    assert prompts.point_coords.tolist() == [[[5, 3]]]


@pytest.mark.parametrize('mode', GTPrompter.MODES)
def test_image_without_objects_has_no_prompt(mode):
    samples = [data_sample(np.zeros((0, 9, 12)), []), DetDataSample(gt_instances=InstanceData())]
    assert [len(prompts) for prompts in GTPrompter(mode)(samples)] == [0, 0]


def resized(masks, bboxes, img_shape, side):
    sample = data_sample(masks, bboxes)
    sample.set_metainfo(dict(img_shape=img_shape, batch_input_shape=(side, side)))
    return sample


def test_mask_prompt_lies_where_the_object_is_in_the_networks_input():
    mask = np.zeros((1, 40, 80))
    mask[0, 20:, 40:60] = 1
    (prompts,) = GTPrompter('mask')([resized(mask, [[40, 20, 60, 40]], (24, 48), 64)])
    assert prompts.bboxes is None and prompts.point_coords is None
    logits = prompts.mask_input[0, 0]
    assert logits.shape == (16, 16)  # a quarter of the input; the image fills 6 rows, 12 columns
    inside = torch.zeros(16, 16, dtype=torch.bool)
    inside[3:6, 6:9] = True
    assert torch.equal(logits > 0, inside)
    assert logits[4, 7] > 9.99 and (logits[8:] == -10).all()
    assert (logits[:, 13:] == -10).all(), 'padding is outside'


def test_mask_prompts_become_the_masks_again_and_fit_the_prompt_encoder():
    rows, columns = np.mgrid[:60, :90]
    masks = np.stack([(rows - 30) ** 2 + (columns - x) ** 2 < 20**2 for x in (25, 60)])
    sample = resized(masks, [[5, 10, 45, 50], [40, 10, 80, 50]], (64, 96), 96)
    (prompts,) = GTPrompter('mask')([sample])
    again = F.interpolate(prompts.mask_input, (96, 96), mode='bilinear')[..., :64, :]
    again = F.interpolate(again, (60, 90), mode='bilinear')[:, 0].numpy() > 0
    overlap = (again & masks).sum((1, 2)) / (again | masks).sum((1, 2))
    assert overlap.min() > 0.95
    sparse, dense = SAMPromptEncoder(embed_dim=8, image_size=96)(prompts)
    assert sparse.shape == (2, 0, 8) and dense.shape == (2, 8, 6, 6)


def test_empty_mask_is_prompted_by_the_whole_box_as_a_mask():
    sample = resized(np.zeros((1, 16, 16)), [[4, 8, 12, 16]], (16, 16), 16)
    (prompts,) = GTPrompter('mask')([sample])
    assert (prompts.mask_input[0, 0] > 0).nonzero().tolist() == [[2, 1], [2, 2], [3, 1], [3, 2]]


@pytest.mark.parametrize('key', ['img_shape', 'batch_input_shape'])
def test_mask_prompts_without_the_networks_frame_are_refused(key):
    sample = resized(np.ones((1, 16, 16)), [[0, 0, 16, 16]], (16, 16), 16)
    sample.set_metainfo({key: None})
    with pytest.raises(ValueError, match='needs img_shape and batch_input_shape of 1.png'):
        GTPrompter('mask')([sample])


def test_image_without_annotations_loaded_is_refused():
    with pytest.raises(ValueError, match='add LoadAnnotations'):
        GTPrompter()([DetDataSample()])


def test_points_without_masks_are_refused():
    sample = data_sample(np.ones((1, 9, 12)), [[0, 0, 12, 9]])
    del sample.gt_instances.masks
    with pytest.raises(ValueError, match='with_mask=True'):
        GTPrompter('center')([sample])


def test_unknown_mode_is_refused():
    with pytest.raises(ValueError, match="box, center, random, mask, got 'centre'"):
        MODELS.build(dict(type='GTPrompter', mode='centre'))
