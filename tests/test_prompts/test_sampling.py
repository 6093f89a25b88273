"""Prompts of training: which objects, and boxes or points."""

import numpy as np
import pytest
import torch
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData

from mmovsam.prompts import sample_training_prompts


def squares(n, side=4):
    """n separate squares on a diagonal, instance i at pixels [i * side, (i + 1) * side - 1)."""
    masks = np.zeros((n, n * side, n * side), dtype=np.uint8)
    bboxes = torch.zeros(n, 4)
    for i in range(n):
        start, stop = i * side, (i + 1) * side - 1
        masks[i, start:stop, start:stop] = 1
        bboxes[i] = torch.tensor([start, start, stop, stop])
    return InstanceData(
        bboxes=bboxes, masks=BitmapMasks(masks, n * side, n * side), labels=torch.arange(n)
    )


def seeded(seed=0):
    print(f'seed {seed}')
    return torch.Generator().manual_seed(seed)


def test_boxes_and_points_belong_to_their_instance():
    gt_instances = squares(30)
    prompts, indices = sample_training_prompts(gt_instances, generator=seeded())
    assert indices.tolist() == list(range(30))
    for i, j in enumerate(indices.tolist()):
        assert prompts.has_bbox[i] != (prompts.num_points[i] > 0)
        if prompts.has_bbox[i]:
            assert torch.equal(prompts.bboxes[i], gt_instances.bboxes[j])
        else:
            x, y = prompts.point_coords[i, 0].int().tolist()
            assert gt_instances.masks.masks[j, y, x] == 1


def test_at_most_max_instances_are_drawn_without_replacement():
    generator = seeded()
    drawn = [sample_training_prompts(squares(10), 4, generator=generator)[1] for _ in range(5)]
    assert all(len(set(indices.tolist())) == 4 for indices in drawn)
    assert len({tuple(indices.tolist()) for indices in drawn}) > 1
    again = sample_training_prompts(squares(10), 4, generator=seeded())[1]
    assert torch.equal(again, drawn[0])
    none = squares(2)[torch.zeros(0, dtype=torch.int64)]
    assert [len(part) for part in sample_training_prompts(none)] == [0, 0]


def test_box_ratio_is_the_share_of_boxes_and_what_has_no_mask_is_a_box():
    generator = seeded()
    for ratio, least, most in ((0.0, 0, 0), (0.5, 8, 32), (1.0, 40, 40)):
        prompts, _ = sample_training_prompts(squares(40), 40, ratio, generator)
        assert least <= prompts.has_bbox.sum() <= most  # four standard deviations
    gt_instances = squares(3)
    gt_instances.masks.masks[1] = 0
    prompts, _ = sample_training_prompts(gt_instances, box_ratio=0)
    assert prompts.has_bbox.tolist() == [False, True, False]
    del gt_instances.masks
    assert sample_training_prompts(gt_instances, box_ratio=0)[0].has_bbox.all()
    for arguments in (dict(max_instances=0), dict(box_ratio=1.5)):
        with pytest.raises(ValueError, match=next(iter(arguments))):
            sample_training_prompts(squares(1), **arguments)


@pytest.mark.parametrize('bbox', [(2, 1, 7, 6), (0, 0, 2, 1), (-9, -9, -5, -5)])
def test_points_are_pixels_of_the_mask_also_where_the_box_misses_it(bbox):
    mask = torch.zeros(1, 6, 8, dtype=torch.bool)
    pixels = [(2, 1), (3, 1), (6, 4), (2, 5)]
    for x, y in pixels:
        mask[0, y, x] = True
    gt_instances = InstanceData(bboxes=torch.tensor([bbox]), masks=mask)
    generator, drawn = seeded(), []
    for _ in range(40):
        prompts, _ = sample_training_prompts(gt_instances, 1, 0, generator)
        drawn.append(tuple(prompts.point_coords[0, 0].int().tolist()))
    assert set(drawn) == set(pixels)
