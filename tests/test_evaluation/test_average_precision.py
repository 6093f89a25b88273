"""Average precision by the rules of COCO and of LVIS."""

import json
import pickle
import sys

import pytest
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
from mmdet.evaluation import CocoMetric
from mmengine.evaluator import Evaluator

from mmovsam.evaluation import OpenVocabCocoMetric, OpenVocabLVISMetric, average_precision

CATEGORIES = [
    dict(id=3, name='owl', frequency='r'),
    dict(id=1, name='plum', frequency='f'),
    dict(id=8, name='pram', frequency='c'),
]
LABELS = {3: 0, 1: 1, 8: 2}
NOVEL = (True, False, False)
BOX, ELSEWHERE = (10, 10, 40, 40), (100, 100, 40, 40)
HALF = (10, 10, 40, 24)  # IoU 0.6 with BOX: right at 0.5, 0.55 and 0.6 of ten thresholds
SQUARE = [10, 10, 50, 10, 50, 50, 10, 50]


def image(number, neg=(), not_exhaustive=()):
    return dict(id=number, neg_category_ids=neg, not_exhaustive_category_ids=not_exhaustive)


IMAGES = [image(1), image(2)]
FOUND = data_sample(1, [thing(1, 3, BOX, 0.9)], LABELS)


def with_masks(masks):
    pred = {key: value for key, value in FOUND['pred_instances'].items() if key != 'masks'}
    return dict(FOUND, pred_instances=pred if masks is None else dict(pred, masks=masks))


def write(tmp_path, objects=(), **changes):
    path = tmp_path / 'coco.json'
    path.write_text(json.dumps({**annotation_file(IMAGES, CATEGORIES, objects), **changes}))
    return str(path)


def annotated(**changes):
    """An owl at BOX; fields that are `...` are left out."""
    entry = dict(id=7, image_id=1, category_id=3, bbox=BOX, segmentation=[SQUARE]) | changes
    return {key: value for key, value in entry.items() if value is not ...}


def run(path, sample=FOUND, classes=('owl', 'plum', 'pram'), **kwargs):
    metric = OpenVocabCocoMetric(path, **kwargs)
    metric.dataset_meta = dict(classes=classes)
    metric.process(None, [sample])
    return metric.evaluate(1)


@pytest.fixture
def evaluate(tmp_path):
    """Writes an annotation file, shows a metric all predictions, and returns its values."""

    def run(kind, images, categories, objects, predictions, novel=None, classes=None, **kwargs):
        path = write(tmp_path, **annotation_file(images, categories, objects))
        names = classes or [category['name'] for category in categories]
        ids = {category['name']: category['id'] for category in categories}
        labels = {ids[name]: label for label, name in enumerate(names)}
        evaluator = Evaluator([kind(path, **kwargs)])
        evaluator.dataset_meta = dict(classes=names, **(dict(novel=novel) if novel else {}))
        for image in images:
            evaluator.process([data_sample(image['id'], predictions, labels)])
        return evaluator.evaluate(len(images))

    return run


def test_base_and_novel_classes_have_their_own_means(evaluate):
    objects = [thing(1, 1, BOX), thing(1, 3, BOX), thing(2, 3, BOX)]
    # pram is in no image; the wrong pram changes nothing
    predictions = [thing(1, 1, HALF, 0.9), thing(1, 3, BOX, 0.8), thing(2, 8, BOX, 0.9)]
    metrics = evaluate(OpenVocabCocoMetric, IMAGES, CATEGORIES, objects, predictions, NOVEL)
    recalled = 51 / 101  # one of two owls: recall 0.5 is the last of 51 recalls reached
    expected = dict(
        AP=(0.3 + recalled) / 2, AP50=(1 + recalled) / 2, AP75=recalled / 2,
        APs=-1, APm=(0.3 + recalled) / 2, APl=-1,
        AP_base=0.3, AP50_base=1, AP_novel=recalled, AP50_novel=recalled,
    )  # fmt: skip
    assert metrics == pytest.approx(in_both('coco', expected))


def in_both(prefix, expected):
    return {f'{prefix}/{kind}_{key}': v for kind in ('bbox', 'segm') for key, v in expected.items()}


def test_rare_common_and_frequent_classes_have_their_own_means(evaluate):
    objects = [thing(1, 1, BOX), thing(1, 3, BOX), thing(1, 8, BOX)]
    predictions = [thing(1, 1, BOX, 0.9), thing(1, 3, HALF, 0.9)]
    metrics = evaluate(OpenVocabLVISMetric, IMAGES[:1], CATEGORIES, objects, predictions)
    expected = dict(
        AP=1.3 / 3, AP50=2 / 3, AP75=1 / 3, APs=-1, APm=1.3 / 3, APl=-1, APr=0.3, APc=0, APf=1
    )
    assert metrics == pytest.approx(in_both('lvis', expected))


@pytest.mark.parametrize(
    ('novel', 'classes', 'expected'),
    [
        ((True, False, None), None, dict(AP=1 / 3, AP_base=0, AP_novel=0)),
        ((False, True), ['pram', 'owl'], dict(AP=0.5, AP_base=1, AP_novel=0)),
    ],
)
def test_classes_that_are_neither_or_fewer_than_in_the_file(evaluate, novel, classes, expected):
    objects = [thing(1, 1, BOX), thing(1, 3, BOX), thing(1, 8, BOX)]
    metrics = evaluate(
        OpenVocabCocoMetric, IMAGES, CATEGORIES, objects, [thing(1, 8, BOX, 0.9)], novel,
        metric='bbox', classes=classes,
    )  # fmt: skip
    assert {key: metrics[f'coco/bbox_{key}'] for key in expected} == pytest.approx(expected)


@pytest.mark.parametrize('seed', [3, 4, 5])
def test_overall_values_are_those_of_mmdetection(tmp_path, seed):
    images, categories, objects, predictions = random_scene(seed, crowds=True)
    content = annotation_file(images, categories, objects)
    for number, annotation in enumerate(content['annotations'], 1):
        annotation['id'] = number  # pycocotools takes an annotation with id 0 for none
    path = write(tmp_path, **content)
    labels = {c['id']: i for i, c in enumerate(categories)}  # CocoMetric takes the file's order
    theirs = CocoMetric(path, ['bbox', 'segm'], prefix='theirs')
    evaluator = Evaluator([OpenVocabCocoMetric(path), theirs])
    evaluator.dataset_meta = dict(classes=[c['name'] for c in categories])
    for each in images:
        sample = data_sample(each['id'], predictions, labels)
        evaluator.process([dict(sample, ori_shape=(SIDE, SIDE))])
    metrics = evaluator.evaluate(len(images))
    names = dict(AP='mAP', AP50='mAP_50', AP75='mAP_75', APs='mAP_s', APm='mAP_m', APl='mAP_l')
    for kind in ('bbox', 'segm'):
        ours = [metrics[f'coco/{kind}_{name}'] for name in names]
        theirs = [metrics[f'theirs/{kind}_{name}'] for name in names.values()]
        assert ours == pytest.approx(theirs, abs=6e-4)  # they round


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


@pytest.mark.parametrize('as_text', [True, False])
def test_masks_may_be_run_lengths_and_images_untested(tmp_path, as_text):
    path = write(tmp_path, [thing(1, 3, BOX), thing(2, 3, BOX)])
    sample = with_masks([to_rle(rectangle(BOX), as_text)])
    assert run(path, sample, metric='segm')['coco/segm_AP'] == pytest.approx(1)


@pytest.mark.parametrize('changes', [{}, dict(id=...), dict(area=None), dict(area=0, iscrowd='0')])
def test_an_area_that_is_not_known_is_that_of_the_box(tmp_path, changes):
    ignored = annotated(id=9, ignore='1', bbox=[1, 1, 5, 5])  # is no object
    entry = annotated(segmentation=[SQUARE, [1, 1, 2, 2]], **changes)
    metrics = run(write(tmp_path, annotations=[ignored, entry]))
    assert metrics['coco/bbox_APm'] == metrics['coco/segm_APm'] == pytest.approx(1)
    assert metrics['coco/bbox_AP'] == pytest.approx(1)


@pytest.mark.parametrize('bbox', [[5, 5, 0, 0], [SIDE, 5, 9, 9]])
def test_a_box_without_area_is_an_object_that_is_never_found(tmp_path, bbox, logged):
    path = write(tmp_path, annotations=[annotated(bbox=bbox), annotated()])
    assert run(path, metric='bbox')['coco/bbox_AP'] == pytest.approx(51 / 101)
    assert '1 of 2 annotations (annotation 7 ...) have no box inside their image' in logged.text


@pytest.mark.parametrize(
    'segmentation',
    [
        [[10, 10, 60, 50]],
        [[-9, 1, -2, 1, -2, 9]],
        [[0.1, 0.1, 0.9, 0.1, 0.9, 0.3]],
        dict(size=[SIDE] * 2, counts=[SIDE**2]),
    ],
)
def test_masks_without_area_are_no_objects_as_for_the_dataset(tmp_path, segmentation):
    flat = annotated(segmentation=segmentation)
    path = write(tmp_path, annotations=[annotated(id=6), flat])
    assert run(path, metric='segm')['coco/segm_AP'] == pytest.approx(1)
    path = write(tmp_path, annotations=[flat])
    with pytest.raises(ValueError, match=r"coco\.json: 1 of 1 .*annotation 7.*metric='bbox'"):
        OpenVocabCocoMetric(path)
    OpenVocabCocoMetric(path, metric='bbox')


@pytest.mark.parametrize(
    ('images', 'predictions', 'expected'),
    [
        # The plum in image 2 has the best score. It is wrong only if somebody looked there.
        ([image(1), image(2)], [thing(2, 1, BOX, 0.9), thing(1, 1, BOX, 0.5)], 1),
        ([image(1), image(2, [1])], [thing(2, 1, BOX, 0.9), thing(1, 1, BOX, 0.5)], 0.5),
        # What matches nothing does not count where not all are annotated.
        ([image(1)], [thing(1, 1, ELSEWHERE, 0.9), thing(1, 1, BOX, 0.5)], 0.5),
        ([image(1, (), [1])], [thing(1, 1, ELSEWHERE, 0.9), thing(1, 1, BOX, 0.5)], 1),
        ([image(1, [3])], [*[thing(1, 3, ELSEWHERE, 0.9)] * 299, thing(1, 1, BOX, 0.5)], 1),
        # 300 predictions an image count over all classes.
        ([image(1)], [*[thing(1, 3, ELSEWHERE, 0.9)] * 299, thing(1, 1, BOX, 0.5)], 1),
        ([image(1)], [*[thing(1, 3, ELSEWHERE, 0.9)] * 300, thing(1, 1, BOX, 0.5)], 0),
    ],
)
def test_predictions_count_where_lvis_says(evaluate, images, predictions, expected):
    metrics = evaluate(OpenVocabLVISMetric, images, CATEGORIES, [thing(1, 1, BOX)], predictions)
    assert metrics['lvis/bbox_AP'] == metrics['lvis/segm_AP'] == pytest.approx(expected)


def test_values_do_not_depend_on_how_many_classes_are_evaluated_at_once(evaluate, monkeypatch):
    images, categories, objects, predictions = random_scene(5, crowds=False)
    whole = evaluate(OpenVocabLVISMetric, images, categories, objects, predictions)
    monkeypatch.setattr(average_precision, 'CLASSES_AT_ONCE', 2)
    assert evaluate(OpenVocabLVISMetric, images, categories, objects, predictions) == whole
    assert whole['lvis/segm_AP'] > 0


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(area='24'), "area '24', expected a number"),
        (dict(bbox=...), 'annotation 7 has no "bbox"'),
        (dict(bbox=[0.1, 0.2, 0.3, 0.4]), 'fractions of the image'),
        (dict(image_id=77), 'image_id 77'),
        (dict(segmentation=dict(size=[SIDE, SIDE], counts='abc')), 'annotation 7 .*cut off'),
        (dict(segmentation=...), "annotation 7 has no segmentation.*metric='bbox'"),
    ],
)
def test_what_is_wrong_in_an_annotation_is_said_before_the_test(tmp_path, changes, message):
    with pytest.raises(ValueError, match=rf'coco\.json: .*{message}'):
        OpenVocabCocoMetric(write(tmp_path, annotations=[annotated(**changes)]))


@pytest.mark.parametrize(
    ('table', 'key', 'value', 'message'),
    [
        ('categories', 'frequency', ..., 'has no "frequency"'),
        ('categories', 'frequency', 'rare', "'owl' has frequency 'rare', expected one of r, c, f"),
        ('images', 'neg_category_ids', ..., 'image 1 has no "neg_category_ids"'),
        ('images', 'not_exhaustive_category_ids', 3, 'image 1 has not_exhaustive.* 3, expected a'),
    ],
)
def test_a_file_that_is_not_lvis_is_refused(tmp_path, table, key, value, message):
    entries = [dict(each) for each in annotation_file(IMAGES, CATEGORIES, [])[table]]
    entries[0].pop(key) if value is ... else entries[0].update({key: value})
    with pytest.raises(ValueError, match=rf'coco\.json: .*{message}'):
        OpenVocabLVISMetric(write(tmp_path, **{table: entries}))


def test_a_truncated_or_missing_file_or_an_unknown_metric_is_named(tmp_path, monkeypatch):
    path = write(tmp_path)
    for metric in ('mask', (), ['bbox', 'mask']):
        with pytest.raises(ValueError, match="expected 'bbox', 'segm' or both"):
            OpenVocabCocoMetric(path, metric=metric)
    (tmp_path / 'coco.json').write_text('{"images": [')
    with pytest.raises(ValueError, match=r'coco\.json is truncated'):
        OpenVocabCocoMetric(path)
    with pytest.raises(FileNotFoundError, match=r'(?s)none\.json.*Set ann_file of OpenVocabCoco'):
        OpenVocabCocoMetric(str(tmp_path / 'none.json'))
    monkeypatch.setitem(sys.modules, 'faster_coco_eval', None)
    with pytest.raises(ImportError, match=r"pip install 'mmovsam\[lvis\]'"):
        OpenVocabLVISMetric('any.json')


@pytest.mark.parametrize(
    ('sample', 'classes', 'message'),
    [
        (data_sample(9, [], LABELS), LABELS, r'image 9 was tested but is not in .*coco\.json'),
        (FOUND, ('owl', 'object'), r"coco\.json does not have 'object'"),
        (FOUND, (), r'coco\.json does not have any'),
        (data_sample(1, [thing(1, 3, BOX, 0.9)], {3: -1}), LABELS, 'image 1: .* label -1'),
        (data_sample(1, [thing(1, 3, BOX, 0.9)], {3: 3}), LABELS, 'label 3, .* 3 classes'),
        (with_masks(None), LABELS, r"image 1: predictions have no masks.*metric='bbox'"),
        (with_masks(torch.zeros(1, 50, 160)), LABELS, r'mask has size \[50, 160\].*e \[160, 160\]'),
    ],
)
def test_predictions_that_do_not_fit_are_named(tmp_path, sample, classes, message):
    classes = ('owl', 'plum', 'pram') if classes is LABELS else classes
    path = write(tmp_path, [thing(1, 3, BOX)])
    with pytest.raises(ValueError, match=message):
        run(path, sample, classes)
    if 'no masks' in message:
        assert run(path, sample, metric='bbox')['coco/bbox_AP'] == pytest.approx(1)
