"""Boxes that a model proposes."""

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures.bbox import bbox_overlaps

SIZE = 128
CHANNELS = (4, 6, 8)


@pytest.fixture
def head():
    torch.manual_seed(0)
    return MODELS.build(
        dict(type='ProposalHead', image_size=SIZE, in_channels=CHANNELS, channels=16)
    ).eval()


def maps(batch=1, seed=0):
    random = torch.Generator().manual_seed(seed)
    return [
        torch.randn(batch, channels, SIZE // stride, SIZE // stride, generator=random)
        for channels, stride in zip(CHANNELS, (8, 16, 32))
    ]


@torch.no_grad()
def test_each_position_has_a_box_around_it_and_each_image_its_own(head):
    given = maps(2)
    logits, bboxes = head(given)
    places, strides = head.places()
    assert logits.shape == (2, 16**2 + 8**2 + 4**2) and bboxes.shape == (*logits.shape, 4)
    assert places[:2].tolist() == [[4, 4], [12, 4]] and places[-1].tolist() == [112, 112]
    assert strides.unique(return_counts=True)[1].tolist() == [256, 64, 16]
    inside = (bboxes[..., :2] < places) & (places < bboxes[..., 2:])
    assert inside.all()
    assert logits.sigmoid().max() < 0.1  # objects are rare
    alone = head([each[1:] for each in given])
    for both, own in zip((logits, bboxes), alone):
        assert torch.allclose(both[1:], own, atol=1e-4)


@pytest.mark.parametrize('count', [1, 7, 500])
def test_proposals_are_inside_differ_and_come_in_order(head, count):
    print('seed 3')
    torch.manual_seed(3)
    torch.nn.init.normal_(head.score.weight, std=0.5)
    torch.nn.init.normal_(head.box.weight, std=0.3)
    bboxes, scores = head.propose(maps(seed=3), (96, 120), count, nms_iou=0.5)
    assert 0 < len(bboxes) == len(scores) <= count
    assert scores.tolist() == sorted(scores.tolist(), reverse=True) and (scores > 0).all()
    assert bboxes.min() >= 0 and bboxes[:, 2].max() <= 120 and bboxes[:, 3].max() <= 96
    assert ((bboxes[:, 2:] - bboxes[:, :2]) >= 3).all()
    overlaps = bbox_overlaps(bboxes, bboxes).fill_diagonal_(0)
    assert overlaps.max() <= 0.5 + 1e-5


def test_half_precision_is_read_and_boxes_may_all_be_too_small(head):
    bboxes, _ = head.propose([each.bfloat16() for each in maps()], (128, 128), 5)
    assert bboxes.dtype == torch.float32 and bboxes.isfinite().all()
    torch.nn.init.constant_(head.box.bias, -10.0)
    torch.nn.init.zeros_(head.box.weight)
    bboxes, scores = head.propose(maps(), (128, 128))
    assert bboxes.shape == (0, 4) and scores.shape == (0,)
