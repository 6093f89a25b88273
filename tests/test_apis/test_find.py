"""Objects by their names."""

from unittest.mock import Mock

import numpy as np
import pytest
import tiny
import tiny_photo
import torch
from mmdet.registry import MODELS
from small_predictor import HEIGHT, WIDTH
from small_world import mask_of, rle, scene

from mmovsam.apis import OVSAMPredictor
from mmovsam.apis.find import suppress_overlaps
from mmovsam.evaluation.open_vocab_metric import mask_iou
from mmovsam.prompts import Prompts
from mmovsam.vocabulary import TextClassifier

SEED = 3
COARSE = dict(points_per_side=4, stability_thr=0, quality_thr=0, min_area=1)
"""A random model's masks are of no quality."""
ANY = dict(score_thr=0.0, candidates=COARSE)
BOXES = [[10, 12, 50, 40], [0, 0, 80, 60], [40, 5, 70, 55]]


@pytest.fixture
def typing(model, picture):
    """A predictor that reads other names than its own."""
    model.set_vocabulary(tiny.vocabulary())
    predictor = OVSAMPredictor(model, dict(model=tiny.CLIP))
    predictor.set_image(picture)
    return predictor


def thing(score, *rectangle):
    """An object `(y1, y2, x1, x2)` on a canvas of 100x100 pixels."""
    mask = np.zeros((100, 100), np.uint8)
    y1, y2, x1, x2 = rectangle
    mask[y1:y2, x1:x2] = 1
    return dict(segmentation=rle(mask), area=int(mask.sum()), score=score)


def test_objects_are_described_as_everything_describes_them(predictor):
    everything = predictor.segment_everything(**COARSE)
    found = predictor.find(['cat', 'owl', 'red car'], top_k=2, **ANY)
    assert found
    known = {tuple(each['point_coords'][0]): each for each in everything}
    for each in found:
        same = known[tuple(each['point_coords'][0])]
        assert set(each) == set(same)
        for key in ('segmentation', 'area', 'bbox', 'crop_box', 'stability_score'):
            assert each[key] == same[key]
        assert each['name'] in ('cat', 'owl', 'red car') and each['name'] == each['names'][0]
        assert len(each['names']) == len(each['name_scores']) == 2
        probability = each['name_scores'][0]
        assert each['score'] == pytest.approx(probability * each['stability_score'])
    scores = [each['score'] for each in found]
    assert scores == sorted(scores, reverse=True)


def test_names_of_the_model_are_as_probable_as_in_its_vocabulary(predictor):
    names = list(tiny.NAMES)
    said = predictor.predict_batch(Prompts(bboxes=BOXES), top_k=6)
    found = predictor.find(names[:-1], bboxes=BOXES, score_thr=0.0, top_k=6)
    assert found
    for each in found:
        row = BOXES.index(each['box'])
        expected = dict(zip(said.names[row], said.name_scores[row]))
        assert each['names'][0] == said.names[row][0]
        assert 'boat' not in each['names']  # the vocabulary has it as never to be predicted
        for name, score in zip(each['names'], each['name_scores']):
            assert score == pytest.approx(expected[name], abs=1e-5)


def test_score_is_a_limit_and_leaves_nothing_else_out(predictor):
    everything = predictor.find(list(tiny.NAMES[:5]), bboxes=BOXES, score_thr=0.0)
    middle = everything[len(everything) // 2]['score']
    kept = predictor.find(list(tiny.NAMES[:5]), bboxes=BOXES, score_thr=middle)
    assert kept == [each for each in everything if each['score'] >= middle]
    assert predictor.find(list(tiny.NAMES[:5]), bboxes=BOXES, score_thr=1.0) == []


def test_what_may_be_right_as_well_does_not_speak_against_a_name(typing):
    names = ['car', 'vessel', 'cat', 'dog', 'tree', 'owl']
    found = typing.find(names, bboxes=BOXES, score_thr=0.0, top_k=99)
    assert found
    for each in found:
        if each['name'] == 'car':
            assert 'red car' not in each['names'] and 'tree' in each['names']
        else:
            assert {'red car', 'car', 'vessel'} <= set(each['names'])
    both = typing.find(['car', 'red car'], bboxes=BOXES, score_thr=0.0, background=[])
    assert {each['name'] for each in both} == {'car', 'red car'}
    assert all(each['names'] == [each['name']] for each in both)


def test_a_background_of_ones_own_and_a_text_classifier_are_taken(typing):
    names = list(tiny.NAMES[:5])
    own = typing.model.classifier.subset(range(5), names)
    settings = dict(bboxes=BOXES, score_thr=0.0, background=['mug'], top_k=9)
    by_text, built = typing.find(names, **settings), typing.find(own, **settings)
    assert by_text == built and by_text
    assert {name for each in by_text for name in each['names']} == {*names, 'mug'}


def test_given_boxes_have_the_masks_that_they_prompt(predictor):
    names = list(tiny.NAMES[:5])
    found = predictor.find(names, bboxes=BOXES, score_thr=0.0, output_mode='mask')
    said = predictor.predict_batch(Prompts(bboxes=BOXES))
    assert found
    for each in found:
        row = BOXES.index(each['box'])
        assert np.array_equal(each['segmentation'], said.masks[row])
        assert each['area'] == said.masks[row].sum()
        assert each['stability_score'] == pytest.approx(said.scores[row])
    prompts = Prompts(bboxes=torch.tensor(BOXES).float())
    again = predictor.find(names, bboxes=prompts, score_thr=0.0, output_mode='rle')
    assert [each['box'] for each in again] == [each['box'] for each in found]
    assert predictor.find(names, bboxes=np.zeros((0, 4))) == []


def test_a_window_decoder_judges_by_predicted_iou():
    model = tiny_photo.build(**tiny_photo.WINDOWS, region_namer=tiny_photo.NAMER)
    predictor = OVSAMPredictor(model)
    predictor.set_image(tiny_photo.drawn((HEIGHT, WIDTH), 0)[0])
    for options in (dict(candidates=COARSE), dict(bboxes=BOXES)):
        found = predictor.find(list(tiny.NAMES[:5]), score_thr=0.0, **options)
        for each in found:
            assert each['score'] == pytest.approx(each['name_scores'][0] * each['predicted_iou'])
        assert found


@pytest.mark.parametrize('scores', [(0.9, 0.6), (0.6, 0.9)])
def test_of_a_part_and_its_whole_the_better_stays(scores):
    whole, part = thing(scores[0], 0, 80, 0, 80), thing(scores[1], 10, 40, 10, 40)
    beside = thing(0.7, 60, 100, 60, 100)  # a quarter of it lies inside
    better = max(whole, part, key=lambda each: each['score'])
    assert suppress_overlaps([whole, part, beside]) == [better, beside]
    assert suppress_overlaps([]) == []


def test_candidates_are_looked_for_once(predictor, picture, monkeypatch):
    decode = Mock(wraps=predictor.model.decode_masks)
    monkeypatch.setattr(predictor.model, 'decode_masks', decode)
    first = predictor.find(['cat', 'owl'], **ANY)
    number = decode.call_count
    fork = predictor.fork()
    fork.set_image(picture)  # remembered by both
    assert predictor.find(['cat', 'owl'], **ANY) == fork.find(['cat', 'owl'], **ANY) == first
    predictor.find(['dog'], **ANY)
    assert decode.call_count == number > 0
    predictor.find(['dog'], score_thr=0.0, candidates=dict(COARSE, points_per_side=2))
    assert decode.call_count > number
    number = decode.call_count
    predictor.set_image(picture[::-1].copy())
    predictor.find(['dog'], **ANY)
    assert decode.call_count > number


def test_names_of_the_small_world_are_found_and_others_are_not():
    predictor = OVSAMPredictor.from_config('mini/ovsam_mini_boxes.py')
    scenes = [scene(SEED, index) for index in range(2)]
    for own, other in zip(scenes, scenes[::-1]):
        found = predictor.find(list(dict.fromkeys(own.names)), own.image)
        right = [
            any(name == each['name'] and mask_iou(mask_of(each), mask) > 0.5
                for name, mask in zip(own.names, own.masks))
            for each in found
        ]  # fmt: skip
        assert sum(right) >= 0.6 * len(own.names) and np.mean(right) >= 0.7
        assert len(predictor.find([name for name in other.names if name not in own.names])) <= 1


@pytest.mark.parametrize(
    'names, error, message',
    [
        ([], ValueError, r'names are empty: give at least one'),
        (['dog', 'Dog'], ValueError, "names have 'dog' and 'Dog', which are one"),
        ('dog', TypeError, r"names are a list such as \['dog', 'a red cup'\], not 'dog'"),
        (['a spoon'], ValueError, 'a spoon: this model knows its own names only'),
    ],
)
def test_bad_names_are_refused(predictor, names, error, message):
    with pytest.raises(error, match=message):
        predictor.find(names, bboxes=BOXES)


@pytest.mark.parametrize(
    'arguments, message',
    [
        (dict(score_thr=1.5), 'score_thr must lie between 0 and 1, not 1.5'),
        (dict(score_thr=float('nan')), 'score_thr must lie between 0 and 1, not nan'),
        (dict(top_k=0), 'top_k must be at least 1, not 0'),
        (dict(output_mode='png'), "output_mode is 'png'; choose one of"),
        (dict(candidates=dict(points=3)), 'candidates has no points; it has points_per_side'),
        (dict(candidates=dict(points_per_side=0)), 'points_per_side must be at least 1'),
        (dict(bboxes=BOXES, candidates=COARSE), 'give either'),
        (dict(bboxes=[1, 2, 3]), r'bboxes are \(N, 4\) xyxy in pixels, got shape \(3,\)'),
        (dict(bboxes=[[5, 5, 2, 2]]), 'Prompt 0: Box .* is empty, inverted'),
        (
            dict(bboxes=Prompts(point_coords=torch.ones(1, 1, 2), point_labels=torch.ones(1, 1))),
            'Prompts without boxes',
        ),
        (dict(background=['mug', 'Mug']), "background have 'mug' and 'Mug'"),
        (dict(image_index=3), 'image_index is 3'),
    ],
)
def test_bad_argument_is_refused(predictor, arguments, message):
    with pytest.raises(ValueError, match=message):
        predictor.find(['dog'], **arguments)


def test_a_model_or_a_classifier_without_names_is_refused(predictor, picture):
    with pytest.raises(ValueError, match='This model segments only'):
        OVSAMPredictor(MODELS.build(tiny.SAM)).find(['dog'], picture)
    with pytest.raises(ValueError, match='names are a text classifier without names'):
        predictor.find(TextClassifier(tiny.vocabulary().embeddings))
