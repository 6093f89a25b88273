import math

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from mmengine.evaluator import Evaluator
from mmengine.structures import InstanceData
from pycocotools import mask as coco_mask

from mmovsam.evaluation import OpenVocabMetric

META = dict(classes=('a', 'b', 'c'), novel=(False, True, False))


def rectangle(x1, y1, x2, y2, height=10, width=12):
    mask = np.zeros((height, width), dtype=bool)
    mask[y1:y2, x1:x2] = True
    return mask


def data_sample(gt, pred, topk=True):
    """A data sample of (box, label) for each annotation and (box, label, top-5) for predictions."""

    def instances(rows):
        masks = np.array([rectangle(*bbox) for bbox, *_ in rows], dtype=bool).reshape(-1, 10, 12)
        bboxes = torch.tensor([bbox for bbox, *_ in rows], dtype=torch.float32).reshape(-1, 4)
        labels = torch.tensor([label for _, label, *_ in rows], dtype=torch.int64)
        return InstanceData(bboxes=bboxes, labels=labels, masks=torch.from_numpy(masks))

    sample = DetDataSample(metainfo=dict(img_id=1, img_path='1.png'))
    sample.gt_instances, sample.pred_instances = instances(gt), instances(pred)
    sample.gt_instances.masks = BitmapMasks(sample.gt_instances.masks.byte().numpy(), 10, 12)
    sample.pred_instances.scores = torch.ones(len(pred))
    if topk:
        labels = torch.tensor([labels for *_, labels in pred], dtype=torch.int64)
        sample.pred_instances.topk_labels = labels.reshape(len(pred), -1 if pred else 2)
    return sample


def evaluate(metric, *samples, meta=META):
    evaluator = Evaluator([metric])
    evaluator.dataset_meta = meta
    for sample in samples:
        evaluator.process([sample])
    return evaluator.evaluate(len(samples))


def three_objects():
    """IoU 1 and right; IoU 0.5 and right in the top 5; IoU 0 and wrong (that one is novel)."""
    gt = [((0, 0, 4, 4), 0), ((4, 0, 8, 4), 2), ((0, 5, 4, 9), 1)]
    labels = [(0, [0, 1]), (0, [0, 2]), (2, [2, 0])]
    bboxes = [(0, 0, 4, 4), (4, 0, 6, 4), (8, 5, 12, 9)]
    return gt, [(bbox, *each) for bbox, each in zip(bboxes, labels)]


def test_means_are_over_objects_overall_base_and_novel():
    gt, pred = three_objects()
    samples = data_sample(gt[:1], pred[:1]), data_sample(gt[1:], pred[1:])
    expected = dict(
        IoU=0.5, IoU_base=0.75, IoU_novel=0,
        acc=100 / 3, acc_base=50, acc_novel=0,
        acc5=200 / 3, acc5_base=100, acc5_novel=0,
    )  # fmt: skip
    metrics = evaluate(OpenVocabMetric(), *samples)
    assert metrics == pytest.approx({f'open_vocab/{key}': v for key, v in expected.items()})
    neither = dict(classes=('a', 'b', 'c'), novel=(None, True, False))  # it counts overall only
    metrics = evaluate(OpenVocabMetric(), *samples, meta=neither)
    found = [metrics[f'open_vocab/{key}'] for key in ('IoU', 'IoU_base', 'acc_base')]
    assert found == pytest.approx([0.5, 0.5, 0])


@pytest.mark.parametrize(('top', 'expected'), [([0, 1, 2, 3, 4, 5], 0), ([0, 1, 2, 3, 5, 4], 100)])
def test_only_the_first_five_labels_count(top, expected):
    box = (0, 0, 4, 4)
    metrics = evaluate(
        OpenVocabMetric(), data_sample([(box, 5)], [(box, 0, top)]), meta=dict(classes='abcdef')
    )
    assert metrics['open_vocab/acc5'] == expected and len(metrics) == 3


def test_image_without_objects_keeps_its_place_and_changes_no_mean():
    sample, empty = data_sample(*three_objects()), data_sample([], [])
    metrics = evaluate(OpenVocabMetric(), empty, sample, empty)
    assert metrics['open_vocab/IoU'] == pytest.approx(0.5)
    assert all(math.isnan(v) for v in evaluate(OpenVocabMetric(), empty).values())
    metric = OpenVocabMetric()
    metric.process(None, [sample.to_dict(), empty.to_dict()])
    assert [len(image) for image in metric.results] == [3, 0], 'an entry for each process to send'


def test_what_a_model_does_not_say_is_left_out():
    sample = data_sample(*three_objects(), topk=False)
    metrics = evaluate(OpenVocabMetric(), sample)
    assert not any('acc5' in key for key in metrics) and metrics['open_vocab/acc_base'] == 50
    del sample.pred_instances.labels
    metrics = evaluate(OpenVocabMetric(with_labels=False), sample)
    assert set(metrics) == {f'open_vocab/IoU{suffix}' for suffix in ('', '_base', '_novel')}
    assert metrics['open_vocab/IoU_base'] == pytest.approx(0.75)


def to_rle(masks, text):
    rles = [coco_mask.encode(np.asfortranarray(mask.astype(np.uint8))) for mask in masks]
    return [dict(rle, counts=rle['counts'].decode()) if text else rle for rle in rles]


@pytest.mark.parametrize('text', [True, False])
def test_masks_may_be_run_lengths_or_polygons(text):
    gt, pred = three_objects()
    sample = data_sample(gt, pred)
    sample.pred_instances.masks = to_rle(sample.pred_instances.masks.numpy(), text)
    sample.gt_instances.masks = to_rle(sample.gt_instances.masks.masks, text)
    assert evaluate(OpenVocabMetric(), sample)['open_vocab/IoU'] == pytest.approx(0.5)
    sample = data_sample([((2, 2, 6, 6), 0)], [((2, 2, 6, 6), 0, [0])])
    polygon = [np.array([2.0, 2, 6, 2, 6, 6, 2, 6])]
    sample.gt_instances.masks = PolygonMasks([polygon], 10, 12)
    assert evaluate(OpenVocabMetric(), sample)['open_vocab/IoU'] == pytest.approx(1)


def test_match_by_iou_finds_the_best_box_whatever_the_order():
    gt, pred = three_objects()
    extra = ((3, 0, 8, 4), 2, [2, 0])  # box IoU 0.8 with the second object
    metrics = evaluate(OpenVocabMetric(match='iou'), data_sample(gt, [extra, *pred[::-1]]))
    expected = dict(IoU=(1 + 0.8 + 0) / 3, IoU_base=0.9, IoU_novel=0, acc=200 / 3, acc5=200 / 3)
    assert {k: metrics[f'open_vocab/{k}'] for k in expected} == pytest.approx(expected)
    sample = data_sample(gt[:1], [((0, 2, 4, 6), 0, [0, 1])])  # box IoU 1/3: missed
    metrics = evaluate(OpenVocabMetric(match='iou'), sample, data_sample(gt[:1], []))
    assert [metrics[f'open_vocab/{key}'] for key in ('IoU', 'acc', 'acc5')] == [0, 0, 0]


@pytest.mark.parametrize(
    ('part', 'changes', 'meta', 'message'),
    [
        ('pred_instances', slice(2), META, r"1\.png has 3 annotated objects and 2.*match='iou'"),
        ('pred_instances', dict(masks=torch.ones(3, 5, 12)), META, r'shape \(5, 12\).*\(10, 12\)'),
        ('gt_instances', 'masks', META, 'with_mask=True'),
        ('gt_instances', {}, dict(novel=(True, False)), 'label 2'),
    ],
)
def test_what_does_not_fit_is_refused(part, changes, meta, message):
    sample = data_sample(*three_objects())
    if isinstance(changes, slice):
        setattr(sample, part, sample.get(part)[changes])
    elif isinstance(changes, str):
        delattr(sample.get(part), changes)
    else:
        for key, value in changes.items():
            setattr(sample.get(part), key, value)
    with pytest.raises(ValueError, match=message):
        evaluate(OpenVocabMetric(), sample, meta=meta)
