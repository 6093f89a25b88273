import json
import pickle

import numpy as np
import pytest
import slow_average_precision as slow
import torch
from detection_scenes import (
    SIDE,
    annotation_file,
    data_sample,
    random_scene,
    rectangle,
    thing,
    to_rle,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmdet.evaluation import CocoMetric
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger

from mmovsam.evaluation import OpenVocabCocoMetric

CATEGORIES = [dict(id=3, name='owl'), dict(id=1, name='plum'), dict(id=8, name='pram')]
LABELS = {3: 0, 1: 1, 8: 2}
NOVEL = (True, False, False)
IMAGES = [dict(id=1), dict(id=2)]
BOX, ELSEWHERE = (10, 10, 40, 40), (100, 100, 40, 40)


def write(tmp_path, objects, **changes):
    path = tmp_path / 'coco.json'
    path.write_text(json.dumps({**annotation_file(IMAGES, CATEGORIES, objects), **changes}))
    return str(path)


def test_base_and_novel_classes_have_their_own_means(evaluate):
    objects = [thing(1, 1, BOX), thing(1, 3, BOX), thing(2, 3, BOX)]
    half = (10, 10, 40, 24)  # IoU 0.6: right at 0.5, 0.55 and 0.6 of ten thresholds
    # pram is in no image; the wrong pram changes nothing
    predictions = [thing(1, 1, half, 0.9), thing(1, 3, BOX, 0.8), thing(2, 8, BOX, 0.9)]
    metrics = evaluate(OpenVocabCocoMetric, IMAGES, CATEGORIES, objects, predictions, NOVEL)
    recalled = 51 / 101  # one of two owls: recall 0.5 is the last of 51 recalls reached
    expected = dict(
        AP=(0.3 + recalled) / 2, AP50=(1 + recalled) / 2, AP75=recalled / 2,
        APs=-1, APm=(0.3 + recalled) / 2, APl=-1,
        AP_base=0.3, AP50_base=1, AP_novel=recalled, AP50_novel=recalled,
    )  # fmt: skip
    for kind in ('bbox', 'segm'):
        got = {name: metrics[f'coco/{kind}_{name}'] for name in expected}
        assert got == pytest.approx(expected)
    assert len(metrics) == 2 * len(expected)


def test_a_group_of_which_no_class_has_an_object_is_minus_one(evaluate):
    metrics = evaluate(
        OpenVocabCocoMetric, IMAGES, CATEGORIES, [thing(1, 3, BOX)], [], NOVEL, metric='bbox'
    )
    assert metrics['coco/bbox_AP_base'] == -1
    assert metrics['coco/bbox_AP'] == metrics['coco/bbox_AP_novel'] == 0


def test_a_class_that_is_neither_counts_overall_only(evaluate):
    objects = [thing(1, 1, BOX), thing(1, 3, BOX), thing(1, 8, BOX)]
    metrics = evaluate(
        OpenVocabCocoMetric, IMAGES, CATEGORIES, objects, [thing(1, 8, BOX, 0.9)],
        (True, False, None), metric='bbox',
    )  # fmt: skip
    assert metrics['coco/bbox_AP'] == pytest.approx(1 / 3)
    assert metrics['coco/bbox_AP_base'] == metrics['coco/bbox_AP_novel'] == 0


def test_without_a_split_there_are_overall_values_only(evaluate):
    metrics = evaluate(OpenVocabCocoMetric, IMAGES, CATEGORIES, [thing(1, 3, BOX)], [])
    names = ('AP', 'AP50', 'AP75', 'APs', 'APm', 'APl')
    assert set(metrics) == {f'coco/{kind}_{name}' for kind in ('bbox', 'segm') for name in names}


def test_classes_in_another_order_and_fewer_than_in_the_file(evaluate):
    objects = [thing(1, 1, BOX), thing(1, 3, BOX), thing(1, 8, BOX)]
    metrics = evaluate(
        OpenVocabCocoMetric, IMAGES, CATEGORIES, objects, [thing(1, 8, BOX, 0.9)],
        (False, True), classes=['pram', 'owl'],
    )  # fmt: skip
    assert metrics['coco/bbox_AP_base'] == pytest.approx(1)
    assert metrics['coco/bbox_AP_novel'] == 0
    assert metrics['coco/bbox_AP'] == pytest.approx(0.5)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_scene_has_the_values_of_the_definition(evaluate, seed):
    images, categories, objects, predictions = random_scene(seed, crowds=True)
    novel = tuple(category['frequency'] == 'r' for category in categories)
    metrics = evaluate(OpenVocabCocoMetric, images, categories, objects, predictions, novel)
    groups = {'': (True, False), '_base': (False,), '_novel': (True,)}
    ids = [category['id'] for category in categories]
    for kind in ('bbox', 'segm'):
        values = slow.average_precisions(images, ids, objects, predictions, kind, False, None)
        for suffix, wanted in groups.items():
            chosen = [values[i, ''] for i, flag in zip(ids, novel) if flag in wanted]
            chosen = np.array([each for each in chosen if each is not None])
            expected = (chosen.mean(), chosen[:, 0].mean()) if len(chosen) else (-1, -1)
            got = tuple(metrics[f'coco/{kind}_{name}{suffix}'] for name in ('AP', 'AP50'))
            assert got == pytest.approx(expected, abs=1e-9), (kind, suffix)


def test_overall_values_are_those_of_mmdetection(tmp_path):
    images, categories, objects, predictions = random_scene(3, crowds=True)
    path = tmp_path / 'coco.json'
    content = annotation_file(images, categories, objects)
    for number, annotation in enumerate(content['annotations'], 1):
        annotation['id'] = number  # pycocotools takes an annotation with id 0 for none
    path.write_text(json.dumps(content))
    MMLogger.get_instance('average_precision', log_level='ERROR')
    classes = [c['name'] for c in categories]  # CocoMetric takes the order of the file
    labels = {c['id']: classes.index(c['name']) for c in categories}
    evaluator = Evaluator(
        [OpenVocabCocoMetric(str(path)), CocoMetric(str(path), ['bbox', 'segm'], prefix='theirs')]
    )
    evaluator.dataset_meta = dict(classes=classes)
    for image in images:
        sample = data_sample(image['id'], predictions, labels)
        evaluator.process([dict(sample, ori_shape=(SIDE, SIDE))])
    metrics = evaluator.evaluate(len(images))
    names = dict(AP='mAP', AP50='mAP_50', AP75='mAP_75', APs='mAP_s', APm='mAP_m', APl='mAP_l')
    for kind in ('bbox', 'segm'):
        for ours, theirs in names.items():
            assert metrics[f'coco/{kind}_{ours}'] == pytest.approx(
                metrics[f'theirs/{kind}_{theirs}'], abs=6e-4  # they round
            ), ours  # fmt: skip


def test_results_are_small_and_pass_from_process_to_process(tmp_path):
    path = write(tmp_path, [thing(1, 3, BOX), thing(2, 3, BOX)])
    predictions = [thing(i, 3, BOX, 0.9) for i in (1, 2)]
    parts = []
    for number in (1, 2):  # what each of two processes has seen
        metric = OpenVocabCocoMetric(path)
        metric.process(None, [data_sample(number, predictions, LABELS)])
        parts.append(pickle.dumps(metric.results))
    assert max(map(len, parts)) < SIDE * SIDE / 8
    metric.dataset_meta = dict(classes=['owl', 'plum', 'pram'])
    results = [result for part in parts for result in pickle.loads(part)]
    assert metric.compute_metrics(results)['segm_AP'] == pytest.approx(1)


def test_masks_may_be_run_lengths(tmp_path):
    predictions = [thing(1, 3, BOX, 0.9)]
    sample = data_sample(1, predictions, LABELS)
    for text in (True, False):
        metric = OpenVocabCocoMetric(write(tmp_path, [thing(1, 3, BOX)]), metric='segm')
        metric.dataset_meta = dict(classes=['owl', 'plum', 'pram'])
        masks = [to_rle(p['mask'], text) for p in predictions]
        metric.process(None, [dict(sample, pred_instances={**sample['pred_instances'],
                                                           'masks': masks})])  # fmt: skip
        assert metric.evaluate(1)['coco/segm_AP'] == pytest.approx(1)


def test_images_that_were_not_tested_do_not_count(tmp_path):
    metric = OpenVocabCocoMetric(write(tmp_path, [thing(1, 3, BOX), thing(2, 3, BOX)]))
    metric.dataset_meta = dict(classes=['owl', 'plum', 'pram'])
    metric.process(None, [data_sample(1, [thing(1, 3, BOX, 0.9)], LABELS)])
    assert metric.evaluate(1)['coco/bbox_AP'] == pytest.approx(1)


def test_annotations_may_lack_area_and_iscrowd_and_have_polygons(tmp_path):
    corners = [10, 10, 50, 10, 50, 50, 10, 50]
    annotation = dict(image_id=1, category_id=3, bbox=BOX, segmentation=[corners, [1, 1, 2, 2]])
    path = write(tmp_path, [], annotations=[annotation])
    metric = OpenVocabCocoMetric(path)
    metric.dataset_meta = dict(classes=['owl', 'plum', 'pram'])
    metric.process(None, [data_sample(1, [thing(1, 3, BOX, 0.9)], LABELS)])
    metrics = metric.evaluate(1)
    assert metrics['coco/bbox_APm'] == metrics['coco/segm_APm'] == pytest.approx(1)


def test_a_box_without_area_is_an_object_that_is_never_found(tmp_path):
    empty = dict(image_id=1, category_id=3, bbox=[5, 5, 0, 0])
    path = write(tmp_path, [], annotations=[empty, dict(empty, bbox=BOX)])
    metric = OpenVocabCocoMetric(path, metric='bbox')
    metric.dataset_meta = dict(classes=['owl', 'plum', 'pram'])
    metric.process(None, [data_sample(1, [thing(1, 3, BOX, 0.9)], LABELS)])
    assert metric.evaluate(1)['coco/bbox_AP'] == pytest.approx(51 / 101)


FLAT = [[[10, 10, 60, 50]], [[]], [[1, 1, 5, 5, 6]], [[1, 1, 2, 2, 3, 3]]]


@pytest.mark.parametrize('segmentation', [*FLAT, dict(size=[SIDE, SIDE], counts=[SIDE**2])])
def test_masks_without_area_are_no_objects_as_for_the_dataset(tmp_path, segmentation):
    square = [10, 10, 50, 10, 50, 50, 10, 50]
    good = dict(id=6, image_id=1, category_id=3, bbox=BOX, segmentation=[square])
    flat = dict(good, id=7, segmentation=segmentation)
    metric = OpenVocabCocoMetric(write(tmp_path, [], annotations=[good, flat]), metric='segm')
    metric.dataset_meta = dict(classes=['owl', 'plum', 'pram'])
    metric.process(None, [data_sample(1, [thing(1, 3, BOX, 0.9)], LABELS)])
    assert metric.evaluate(1)['coco/segm_AP'] == pytest.approx(1)
    path = write(tmp_path, [], annotations=[flat])
    with pytest.raises(ValueError, match=r"coco\.json: 1 of 1 .*annotation 7.*metric='bbox'"):
        OpenVocabCocoMetric(path)
    OpenVocabCocoMetric(path, metric='bbox')


@pytest.mark.parametrize('changes', [{}, dict(area=None), dict(area=0)])
def test_an_area_that_is_not_known_is_that_of_the_box(tmp_path, changes):
    annotation = dict(image_id=1, category_id=3, bbox=BOX, iscrowd='0', **changes)
    metric = OpenVocabCocoMetric(write(tmp_path, [], annotations=[annotation]), metric='bbox')
    metric.dataset_meta = dict(classes=['owl', 'plum', 'pram'])
    metric.process(None, [data_sample(1, [thing(1, 3, BOX, 0.9)], LABELS)])
    assert metric.evaluate(1)['coco/bbox_APm'] == pytest.approx(1)


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(area='24'), "area '24', expected a number"),
        (dict(area=-3), 'area -3'),
        (dict(area=True), 'area True'),
        (dict(iscrowd='maybe'), "iscrowd 'maybe', expected 0 or 1"),
        (dict(bbox=['1', '2', '3', '4']), 'bbox .*expected finite numbers'),
        (dict(bbox=[0.1, 0.2, 0.3, 0.4]), 'fractions of the image'),
        (dict(image_id=77), 'image_id 77'),
        (dict(segmentation=dict(size=[SIDE, SIDE], counts='abc')), 'annotation 7 .*cut off'),
    ],
)
def test_what_is_wrong_in_an_annotation_is_said_before_the_test(tmp_path, changes, message):
    square = [10, 10, 50, 10, 50, 50, 10, 50]
    good = dict(id=7, image_id=1, category_id=3, bbox=BOX, segmentation=[square])
    path = write(tmp_path, [], annotations=[{**good, **changes}])
    with pytest.raises(ValueError, match=rf'coco\.json: .*{message}'):
        OpenVocabCocoMetric(path)


# What does not belong together


@pytest.mark.parametrize('segmentation', [None, [], {}])
def test_an_annotation_without_a_mask_is_named_if_masks_are_asked_for(tmp_path, segmentation):
    annotation = dict(id=7, image_id=1, category_id=3, bbox=BOX, segmentation=segmentation)
    path = write(tmp_path, [], annotations=[annotation])
    with pytest.raises(ValueError, match=r"coco\.json: annotation 7 .*metric='bbox'"):
        OpenVocabCocoMetric(path)
    OpenVocabCocoMetric(path, metric='bbox')


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(annotations=[dict(image_id=1, category_id=3)]), 'no "bbox"'),
        (dict(annotations=[dict(image_id=1, category_id=3, bbox=[1])]), r'bbox \[1\], expected'),
        (dict(annotations=5), 'not iterable'),
        (dict(images=[dict(id=1)]), "no 'height'"),
        (dict(categories=[dict(id=1)]), "no 'name'"),
    ],
)
def test_a_broken_annotation_file_is_named(tmp_path, changes, message):
    with pytest.raises(ValueError, match=rf'coco\.json: .*{message}'):
        OpenVocabCocoMetric(write(tmp_path, [], **changes))


def test_a_truncated_annotation_file_is_named(tmp_path):
    path = tmp_path / 'coco.json'
    path.write_text('{"images": [')
    with pytest.raises(ValueError, match=r'coco\.json: Expecting value'):
        OpenVocabCocoMetric(str(path))


def test_a_missing_annotation_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'OpenVocabCocoMetric needs .*none\.json'):
        OpenVocabCocoMetric(str(tmp_path / 'none.json'))


@pytest.mark.parametrize('metric', ['mask', (), ['bbox', 'mask']])
def test_an_unknown_metric_is_named(tmp_path, metric):
    with pytest.raises(ValueError, match="expected 'bbox', 'segm' or both"):
        OpenVocabCocoMetric(write(tmp_path, []), metric=metric)


def run_on(tmp_path, sample, classes=('owl', 'plum', 'pram'), **kwargs):
    metric = OpenVocabCocoMetric(write(tmp_path, [thing(1, 3, BOX)]), **kwargs)
    metric.dataset_meta = dict(classes=classes)
    metric.process(None, [sample])
    return metric.evaluate(1)


def test_an_image_of_another_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r'image 9 was tested but is not in .*coco\.json'):
        run_on(tmp_path, data_sample(9, [], LABELS))


@pytest.mark.parametrize('classes', [('owl', 'object'), ()])
def test_classes_of_another_file_are_named(tmp_path, classes):
    with pytest.raises(ValueError, match=r"coco\.json does not have ('object'|any)"):
        run_on(tmp_path, data_sample(1, [], LABELS), classes)


@pytest.mark.parametrize('label', [-1, 3])
def test_a_label_of_no_class_is_named(tmp_path, label):
    sample = data_sample(1, [thing(1, 3, BOX, 0.9)], {3: label})
    with pytest.raises(ValueError, match=rf'image 1: .* label {label}, .* 3 classes'):
        run_on(tmp_path, sample)


def test_predictions_without_masks_are_refused_if_masks_are_asked_for(tmp_path):
    sample = data_sample(1, [thing(1, 3, BOX, 0.9)], LABELS)
    del sample['pred_instances']['masks']
    with pytest.raises(ValueError, match=r"image 1: predictions have no masks.*metric='bbox'"):
        run_on(tmp_path, sample)
    assert run_on(tmp_path, sample, metric='bbox')['coco/bbox_AP'] == pytest.approx(1)


def test_masks_of_another_size_than_the_image_are_refused(tmp_path):
    sample = data_sample(1, [thing(1, 3, BOX, 0.9)], LABELS)
    sample['pred_instances']['masks'] = torch.from_numpy(rectangle(BOX)[None, :50])
    with pytest.raises(ValueError, match=r'mask has size \[50, 160\].*image \[160, 160\]'):
        run_on(tmp_path, sample)
