import json
import sys

import numpy as np
import pytest
import slow_average_precision as slow
from detection_scenes import annotation_file, random_scene, thing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmdet.registry import METRICS

from mmovsam.evaluation import OpenVocabLVISMetric, average_precision

CATEGORIES = [
    dict(id=1, name='plum', frequency='f'),
    dict(id=2, name='owl', frequency='r'),
    dict(id=5, name='pram', frequency='c'),
]
BOX, ELSEWHERE = (10, 10, 40, 40), (100, 100, 40, 40)


def image(number, neg=(), not_exhaustive=()):
    return dict(
        id=number, neg_category_ids=list(neg), not_exhaustive_category_ids=list(not_exhaustive)
    )


def test_rare_common_and_frequent_classes_have_their_own_means(evaluate):
    objects = [thing(1, 1, BOX), thing(1, 2, BOX), thing(1, 5, BOX)]
    half = (10, 10, 40, 24)  # IoU 0.6: right at 0.5, 0.55 and 0.6 of ten thresholds
    predictions = [thing(1, 1, BOX, 0.9), thing(1, 2, half, 0.9)]
    metrics = evaluate(OpenVocabLVISMetric, [image(1)], CATEGORIES, objects, predictions)
    for kind in ('bbox', 'segm'):
        expected = dict(
            AP=1.3 / 3, AP50=2 / 3, AP75=1 / 3, APs=-1, APm=1.3 / 3, APl=-1, APr=0.3, APc=0, APf=1
        )
        got = {name: metrics[f'lvis/{kind}_{name}'] for name in expected}
        assert got == pytest.approx(expected)
    assert len(metrics) == 2 * len(expected)


@pytest.mark.parametrize('neg, expected', [((), 1), ((1,), 0.5)])
def test_a_class_that_nobody_looked_for_in_an_image_has_no_false_positives(evaluate, neg, expected):
    # The plum in image 2 has the best score. It is wrong only if somebody looked for plums there.
    predictions = [thing(2, 1, BOX, 0.9), thing(1, 1, BOX, 0.5)]
    images = [image(1), image(2, neg)]
    metrics = evaluate(
        OpenVocabLVISMetric, images, CATEGORIES, [thing(1, 1, BOX)], predictions, metric='bbox'
    )
    assert metrics['lvis/bbox_AP'] == pytest.approx(expected)


@pytest.mark.parametrize('not_exhaustive, expected', [((), 0.5), ((1,), 1)])
def test_what_matches_nothing_does_not_count_where_not_all_are_annotated(
    evaluate, not_exhaustive, expected
):
    predictions = [thing(1, 1, ELSEWHERE, 0.9), thing(1, 1, BOX, 0.5)]
    metrics = evaluate(
        OpenVocabLVISMetric,
        [image(1, (), not_exhaustive)],
        CATEGORIES,
        [thing(1, 1, BOX)],
        predictions,
        metric='segm',
    )
    assert metrics['lvis/segm_AP'] == pytest.approx(expected)


@pytest.mark.parametrize('max_per_img, expected', [(300, 0), (301, 1)])
def test_so_many_predictions_an_image_count_over_all_classes(evaluate, max_per_img, expected):
    others = [thing(1, 2, ELSEWHERE, 0.9)] * 300
    metrics = evaluate(
        OpenVocabLVISMetric,
        [image(1)],
        CATEGORIES,
        [thing(1, 1, BOX)],
        [*others, thing(1, 1, BOX, 0.5)],
        metric='bbox',
        max_per_img=max_per_img,
    )
    assert metrics['lvis/bbox_AP'] == pytest.approx(expected)


def test_300_predictions_an_image_count_by_default(tmp_path):
    path = tmp_path / 'lvis.json'
    path.write_text(json.dumps(annotation_file([image(1)], CATEGORIES, [])))
    assert METRICS.get('OpenVocabLVISMetric')(str(path)).max_per_img == 300


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_scene_has_the_values_of_the_definition(evaluate, seed):
    images, categories, objects, predictions = random_scene(seed, crowds=False)
    metrics = evaluate(OpenVocabLVISMetric, images, categories, objects, predictions, max_per_img=8)
    ids = [category['id'] for category in categories]
    for kind in ('bbox', 'segm'):
        values = slow.average_precisions(images, ids, objects, predictions, kind, True, 8)

        def mean(chosen, letter='', threshold=None, values=values):
            found = [values[i, letter] for i in chosen if values[i, letter] is not None]
            return np.mean(np.array(found)[:, threshold]) if found else -1

        every = slice(None)
        expected = dict(AP=mean(ids, '', every), AP50=mean(ids, '', 0), AP75=mean(ids, '', 5))
        expected |= {f'AP{letter}': mean(ids, letter, every) for letter in 'sml'}
        for letter in 'rcf':
            chosen = [c['id'] for c in categories if c['frequency'] == letter]
            expected[f'AP{letter}'] = mean(chosen, '', every)
        got = {name: metrics[f'lvis/{kind}_{name}'] for name in expected}
        assert got == pytest.approx(expected, abs=1e-9), kind


def test_values_do_not_depend_on_how_many_classes_are_evaluated_at_once(evaluate, monkeypatch):
    images, categories, objects, predictions = random_scene(5, crowds=False)
    whole = evaluate(OpenVocabLVISMetric, images, categories, objects, predictions)
    monkeypatch.setattr(average_precision, 'CLASSES_AT_ONCE', 2)
    assert evaluate(OpenVocabLVISMetric, images, categories, objects, predictions) == whole
    assert whole['lvis/segm_AP'] > 0


def test_a_missing_package_is_named_with_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, 'faster_coco_eval', None)
    with pytest.raises(ImportError, match=r"pip install 'mmovsam\[lvis\]'"):
        OpenVocabLVISMetric('any.json')


@pytest.mark.parametrize(
    'table, key, value, message',
    [
        ('categories', 'frequency', None, "no 'frequency'"),
        ('categories', 'frequency', 'rare', "'plum' has frequency 'rare', expected one of r, c, f"),
        ('images', 'neg_category_ids', None, "no 'neg_category_ids'"),
        ('images', 'not_exhaustive_category_ids', None, "no 'not_exhaustive_category_ids'"),
        ('images', 'neg_category_ids', 3, 'image 1 has neg_category_ids 3, not a list'),
    ],
)
def test_a_file_that_is_not_lvis_is_refused(tmp_path, table, key, value, message):
    content = annotation_file([image(1)], [dict(c) for c in CATEGORIES], [])
    content[table][0].pop(key)
    if value is not None:
        content[table][0][key] = value
    path = tmp_path / 'lvis.json'
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf'lvis\.json: .*{message}'):
        OpenVocabLVISMetric(str(path))
