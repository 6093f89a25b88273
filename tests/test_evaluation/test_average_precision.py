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
    return dict(
        id=number, neg_category_ids=list(neg), not_exhaustive_category_ids=list(not_exhaustive)
    )


IMAGES = [image(1), image(2)]
FOUND = data_sample(1, [thing(1, 3, BOX, 0.9)], LABELS)


def write(tmp_path, objects=(), **changes):
    path = tmp_path / 'coco.json'
    path.write_text(json.dumps({**annotation_file(IMAGES, CATEGORIES, objects), **changes}))
    return str(path)


def annotated(**changes):
    """An owl at BOX; fields that are `...` are left out."""
    entry = dict(id=7, image_id=1, category_id=3, bbox=BOX, segmentation=[SQUARE], **{})
    return {key: value for key, value in {**entry, **changes}.items() if value is not ...}


def run(path, sample=FOUND, classes=('owl', 'plum', 'pram'), **kwargs):
    metric = OpenVocabCocoMetric(path, **kwargs)
    metric.dataset_meta = dict(classes=classes)
    metric.process(None, [sample])
    return metric.evaluate(1)


@pytest.fixture
def evaluate(tmp_path):
    """Writes an annotation file, shows a metric all predictions, and returns its values."""

    def run(kind, images, categories, objects, predictions, novel=None, classes=None, **kwargs):
        path = tmp_path / 'annotations.json'
        path.write_text(json.dumps(annotation_file(images, categories, objects)))
        metric = kind(str(path), **kwargs)
        names = classes or [category['name'] for category in categories]
        ids = {category['name']: category['id'] for category in categories}
        labels = {ids[name]: label for label, name in enumerate(names)}
        evaluator = Evaluator([metric])
        evaluator.dataset_meta = dict(classes=names)
        if novel is not None:
            evaluator.dataset_meta['novel'] = novel
        for image in images:
            evaluator.process([data_sample(image['id'], predictions, labels)])
        return evaluator.evaluate(len(images))

    return run


def values(metrics, prefix, expected):
    return {name: metrics[f'{prefix}_{name}'] for name in expected}


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
    for kind in ('bbox', 'segm'):
        assert values(metrics, f'coco/{kind}', expected) == pytest.approx(expected)
    assert len(metrics) == 2 * len(expected)


def test_rare_common_and_frequent_classes_have_their_own_means(evaluate):
    objects = [thing(1, 1, BOX), thing(1, 3, BOX), thing(1, 8, BOX)]
    predictions = [thing(1, 1, BOX, 0.9), thing(1, 3, HALF, 0.9)]
    metrics = evaluate(OpenVocabLVISMetric, IMAGES[:1], CATEGORIES, objects, predictions)
    expected = dict(
        AP=1.3 / 3, AP50=2 / 3, AP75=1 / 3, APs=-1, APm=1.3 / 3, APl=-1, APr=0.3, APc=0, APf=1
    )
    for kind in ('bbox', 'segm'):
        assert values(metrics, f'lvis/{kind}', expected) == pytest.approx(expected)
    assert len(metrics) == 2 * len(expected)


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
    assert values(metrics, 'coco/bbox', expected) == pytest.approx(expected)


@pytest.mark.parametrize('seed', [3, 4, 5])
def test_overall_values_are_those_of_mmdetection(tmp_path, seed):
    images, categories, objects, predictions = random_scene(seed, crowds=True)
    content = annotation_file(images, categories, objects)
    for number, annotation in enumerate(content['annotations'], 1):
        annotation['id'] = number  # pycocotools takes an annotation with id 0 for none
    path = write(tmp_path, **content)
    classes = [c['name'] for c in categories]  # CocoMetric takes the order of the file
    labels = {c['id']: classes.index(c['name']) for c in categories}
    evaluator = Evaluator(
        [OpenVocabCocoMetric(path), CocoMetric(path, ['bbox', 'segm'], prefix='theirs')]
    )
    evaluator.dataset_meta = dict(classes=classes)
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


def test_masks_may_be_run_lengths_and_images_untested(tmp_path):
    path = write(tmp_path, [thing(1, 3, BOX), thing(2, 3, BOX)])
    for as_text in (True, False):
        sample = with_masks([to_rle(rectangle(BOX), as_text)])
        assert run(path, sample, metric='segm')['coco/segm_AP'] == pytest.approx(1)


@pytest.mark.parametrize('changes', [{}, dict(id=...), dict(area=None), dict(area=0, iscrowd='0')])
def test_an_area_that_is_not_known_is_that_of_the_box(tmp_path, changes):
    entry = annotated(segmentation=[SQUARE, [1, 1, 2, 2]], **changes)
    metrics = run(write(tmp_path, annotations=[entry]))
    assert metrics['coco/bbox_APm'] == metrics['coco/segm_APm'] == pytest.approx(1)


@pytest.mark.parametrize('bbox', [[5, 5, 0, 0], [SIDE, 5, 9, 9]])
def test_a_box_without_area_is_an_object_that_is_never_found(tmp_path, bbox, logged):
    path = write(tmp_path, annotations=[annotated(bbox=bbox), annotated()])
    assert run(path, metric='bbox')['coco/bbox_AP'] == pytest.approx(51 / 101)
    assert '1 of 2 annotations (annotation 7 ...) have no box inside their image' in logged.text


def test_what_the_dataset_ignores_is_no_object(tmp_path):
    path = write(tmp_path, annotations=[annotated(ignore='1', bbox=[1, 1, 5, 5]), annotated()])
    assert run(path, metric='bbox')['coco/bbox_AP'] == pytest.approx(1)


@pytest.mark.parametrize(
    'segmentation',
    [
        [[10, 10, 60, 50]],
        [[1, 1, 5, 5, 6]],
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


def test_a_truncated_or_missing_file_or_an_unknown_metric_is_named(tmp_path):
    path = tmp_path / 'coco.json'
    path.write_text('{"images": [')
    with pytest.raises(ValueError, match=r'coco\.json is truncated'):
        OpenVocabCocoMetric(str(path))
    with pytest.raises(FileNotFoundError, match=r'(?s)none\.json.*Set ann_file of OpenVocabCoco'):
        OpenVocabCocoMetric(str(tmp_path / 'none.json'))
    for metric in ('mask', (), ['bbox', 'mask']):
        with pytest.raises(ValueError, match="expected 'bbox', 'segm' or both"):
            OpenVocabCocoMetric(write(tmp_path), metric=metric)


def test_a_missing_package_is_named_with_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, 'faster_coco_eval', None)
    with pytest.raises(ImportError, match=r"pip install 'mmovsam\[lvis\]'"):
        OpenVocabLVISMetric('any.json')


def without_masks():
    pred = {key: value for key, value in FOUND['pred_instances'].items() if key != 'masks'}
    return dict(FOUND, pred_instances=pred)


def with_masks(masks):
    return dict(FOUND, pred_instances={**FOUND['pred_instances'], 'masks': masks})


@pytest.mark.parametrize(
    ('sample', 'classes', 'message'),
    [
        (data_sample(9, [], LABELS), LABELS, r'image 9 was tested but is not in .*coco\.json'),
        (FOUND, ('owl', 'object'), r"coco\.json does not have 'object'"),
        (FOUND, (), r'coco\.json does not have any'),
        (data_sample(1, [thing(1, 3, BOX, 0.9)], {3: -1}), LABELS, 'image 1: .* label -1'),
        (data_sample(1, [thing(1, 3, BOX, 0.9)], {3: 3}), LABELS, 'label 3, .* 3 classes'),
        (without_masks(), LABELS, r"image 1: predictions have no masks.*metric='bbox'"),
        (
            with_masks(torch.from_numpy(rectangle(BOX)[None, :50])),
            LABELS,
            r'mask has size \[50, 160\].*image \[160, 160\]',
        ),
    ],
)
def test_predictions_that_do_not_fit_are_named(tmp_path, sample, classes, message):
    classes = ('owl', 'plum', 'pram') if classes is LABELS else classes
    path = write(tmp_path, [thing(1, 3, BOX)])
    with pytest.raises(ValueError, match=message):
        run(path, sample, classes)
    if 'no masks' in message:
        assert run(path, sample, metric='bbox')['coco/bbox_AP'] == pytest.approx(1)
