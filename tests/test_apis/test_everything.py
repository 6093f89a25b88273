"""Everything in an image: each mask once, described as SAM's users know it, and named."""

import math
from collections import Counter

import numpy as np
import pytest
import tiny
import torch
from mmdet.registry import MODELS
from pycocotools import mask as coco_mask
from small_predictor import HEIGHT, WIDTH, build
from small_world import mask_of, scene

from mmovsam.apis import OVSAMPredictor, segment_everything
from mmovsam.evaluation.open_vocab_metric import mask_iou

SEED = 7
ALL = dict(quality_thr=0, stability_thr=0, min_area=1)
"""A random model's masks are of no quality."""


@pytest.fixture(scope='module')
def shipped():
    return OVSAMPredictor.from_config('mini/ovsam_mini_boxes.py')


@pytest.fixture(scope='module')
def sure():
    """A model with three masks for a point, and an opinion of each between 0 and 1."""
    model = build(head=dict(mask_decoder=dict(num_masks=4, with_iou=True)))
    with torch.no_grad():
        model.head.mask_decoder.iou_prediction_head.layers[-1].bias.fill_(0.5)
    return model


def test_each_mask_is_described_as_sams_users_know_it(predictor):
    found = segment_everything(predictor, points_per_side=4, top_k=3, **ALL)
    as_arrays = segment_everything(predictor, points_per_side=4, top_k=3, output_mode='mask', **ALL)
    assert len(found) == len(as_arrays) > 0
    for thing, other in zip(found, as_arrays):
        mask = mask_of(thing)
        assert other['segmentation'].dtype == bool and np.array_equal(other['segmentation'], mask)
        assert mask.shape == (HEIGHT, WIDTH) and thing['area'] == mask.sum()
        rows, columns = mask.any(1).nonzero()[0], mask.any(0).nonzero()[0]
        left, top = columns[0], rows[0]
        assert thing['bbox'] == [left, top, columns[-1] + 1 - left, rows[-1] + 1 - top]
        assert thing['crop_box'] == [0, 0, WIDTH, HEIGHT]
        assert 0 <= thing['stability_score'] <= 1 and 'predicted_iou' not in thing
        assert len(thing['names']) == len(thing['name_scores']) == 3
        assert thing['name'] == thing['names'][0] and thing['score'] == thing['name_scores'][0]
    qualities = [thing['stability_score'] for thing in found]
    assert qualities == sorted(qualities, reverse=True)
    assert segment_everything(predictor, **dict(ALL, min_area=HEIGHT * WIDTH + 1)) == []
    # a limit of what this decoder does not predict
    assert segment_everything(predictor, points_per_side=2, **dict(ALL, quality_thr=1.0))


def test_mask_name_and_quality_are_what_the_point_alone_gives(predictor, sure, picture):
    for model, masks_of_each in ((predictor.model, 1), (sure, 3)):
        predictor = OVSAMPredictor(model)
        settings = dict(ALL, points_per_side=4, points_per_batch=3, nms_iou=1)
        which = set()
        for thing in segment_everything(predictor, picture, **settings):
            alone = predictor.predict(point_coords=thing['point_coords'], point_labels=[1])
            differences = [(mask != mask_of(thing)).mean() for mask in alone.masks]
            i = int(np.argmin(differences))
            assert differences[i] < 1e-3 and thing['names'] == alone.names[i]
            quality = thing['stability_score' if masks_of_each == 1 else 'predicted_iou']
            assert quality == pytest.approx(alone.scores[i], abs=1e-3)
            which.add(i)
        assert len(which) == masks_of_each


def test_grid_is_even_and_batches_change_nothing(predictor):
    settings = dict(ALL, points_per_side=8, nms_iou=1)
    one, other = (
        segment_everything(predictor, points_per_batch=count, **settings) for count in (7, 99)
    )
    points = [tuple(thing['point_coords'][0]) for thing in one]
    assert set(points) <= {(10 * i + 4.5, 10 * j + 4.5) for i in range(8) for j in range(6)}
    assert points == [tuple(thing['point_coords'][0]) for thing in other]
    np.testing.assert_allclose([t['score'] for t in one], [t['score'] for t in other], rtol=1e-3)
    fewer = segment_everything(predictor, **dict(settings, points_per_side=2))
    assert len(fewer) <= 4 < len(one)


def test_masks_that_overlap_a_better_one_are_left_out(shipped):
    shipped.set_image(scene(SEED).image)
    settings = dict(ALL, points_per_side=6)
    everything = segment_everything(shipped, **settings, nms_iou=1)
    found = segment_everything(shipped, **settings, nms_iou=0.4)
    assert 3 < len(found) < len(everything)
    masks = [mask_of(thing) for thing in found]
    # they were compared at the decoder's resolution, a quarter of the image's
    assert max(mask_iou(a, b) for i, a in enumerate(masks) for b in masks[:i]) < 0.45
    for thing in everything:  # each is there, or a better one stands for it
        stability = thing['stability_score']
        rivals = [m for m, t in zip(masks, found) if t['stability_score'] >= stability]
        assert max(mask_iou(mask, mask_of(thing)) for mask in rivals) > 0.35


@pytest.mark.parametrize(
    'limit, key',
    [
        ('stability_thr', 'stability_score'),
        ('min_area', 'area'),
        ('name_score_thr', 'score'),
        ('quality_thr', 'predicted_iou'),
    ],
)
def test_limit_leaves_out_what_is_below_and_nothing_else(shipped, sure, picture, limit, key):
    predictor = OVSAMPredictor(sure) if limit == 'quality_thr' else shipped
    predictor.set_image(picture if limit == 'quality_thr' else scene(SEED).image)
    settings = dict(ALL, points_per_side=4, nms_iou=1)
    everything = segment_everything(predictor, **settings)
    values = sorted(thing[key] for thing in everything)
    thr = (values[len(values) // 2] + values[len(values) // 2 - 1]) / 2
    kept = segment_everything(predictor, **{**settings, limit: thr})
    assert len(kept) == sum(value >= thr for value in values) < len(everything)
    assert min(thing[key] for thing in kept) >= thr


def test_thresholds_that_suit_the_model_are_the_default(sure, picture):
    settings = dict(points_per_side=4, min_area=1)
    ours = OVSAMPredictor(sure, everything=dict(quality_thr=0, stability_thr=0))
    expected = segment_everything(OVSAMPredictor(sure), picture, **{**settings, **ALL})
    assert expected and segment_everything(ours, picture, **settings) == expected
    assert segment_everything(ours.fork(), picture, **settings) == expected
    assert len(segment_everything(ours, picture, stability_thr=0.99, **settings)) < len(expected)


def test_image_that_is_given_is_set_and_one_of_several_is_chosen(model, picture):
    fresh = OVSAMPredictor(model)
    settings = dict(ALL, points_per_side=4)
    found = segment_everything(fresh, picture, **settings)
    assert segment_everything(fresh, **settings) == found
    bgr = np.ascontiguousarray(picture[..., ::-1])
    assert segment_everything(fresh, bgr, image_format='BGR', **settings) == found
    fresh.set_image_batch([picture[::-1, ::-1].copy(), picture])
    chosen = segment_everything(fresh, image_index=1, **settings)
    assert [t['point_coords'] for t in chosen] == [t['point_coords'] for t in found]
    assert segment_everything(fresh, **settings) != chosen


def test_model_without_names_has_the_quality_as_score(picture):
    found = segment_everything(
        OVSAMPredictor(MODELS.build(tiny.SAM)), picture, points_per_side=4, **ALL
    )
    for thing in found:
        assert thing['name'] is None and thing['names'] == thing['name_scores'] == []
        assert thing['score'] == thing['stability_score']
    assert found


@pytest.mark.parametrize('shape', [(1, 1), (1, 200), (150, 2)])
def test_images_of_one_pixel_have_a_result(predictor, shape):
    image = np.full((*shape, 3), 90, np.uint8)
    for thing in segment_everything(predictor, image, crop_layers=1, **ALL):
        assert mask_of(thing).shape == shape


def test_crops_lie_in_the_image_and_find_its_objects_once(shipped):
    image = scene(SEED).image
    height, width = image.shape[:2]
    settings = dict(ALL, points_per_side=4, nms_iou=1)
    whole = segment_everything(shipped, image, **settings)
    found = segment_everything(shipped, image, crop_layers=1, **settings)
    assert segment_everything(shipped, **settings) == whole  # the image is still the whole one
    crops = Counter(tuple(thing['crop_box']) for thing in found)
    assert crops.pop((0, 0, width, height)) == len(whole)
    assert 1 < len(crops) <= 4
    for thing in found:
        left, top, w, h = thing['crop_box']
        x1, y1 = thing['bbox'][:2]
        x2, y2 = x1 + thing['bbox'][2], y1 + thing['bbox'][3]
        assert left <= x1 < x2 <= left + w and top <= y1 < y2 <= top + h
        ((px, py),) = thing['point_coords']
        assert left <= px < left + w and top <= py < top + h
        if w < width:
            assert w == math.ceil(0.6 * width) and h == math.ceil(0.6 * height)
            assert left in (0, width - w) and top in (0, height - h)
            # inner edges cut nothing
            assert (x2 < w if left == 0 else x1 > left) and (y2 < h if top == 0 else y1 > top)
    merged = segment_everything(shipped, image, crop_layers=1, points_per_side=8)
    masks = [thing['segmentation'] for thing in merged]
    assert (coco_mask.iou(masks, masks, [0] * len(masks)) - np.eye(len(masks))).max() <= 0.7
    cropped = [mask_of(thing) for thing in merged if thing['crop_box'][2] < width]
    hits = [max(mask_iou(mask, one > 0) for one in scene(SEED).masks) > 0.5 for mask in cropped]
    assert sum(hits) >= 2


def test_objects_of_the_small_world_are_found_and_named(shipped):
    hits = []
    for drawn in (scene(SEED, 0), scene(SEED, 1)):
        found = segment_everything(shipped, drawn.image)
        for name, mask in zip(drawn.names, drawn.masks):
            ious = [mask_iou(mask, mask_of(thing)) for thing in found]
            is_found = max(ious) > 0.5
            hits.append((is_found, is_found and name == found[int(np.argmax(ious))]['name']))
    num_found, num_named = np.sum(hits, axis=0)
    print(len(hits), num_found, num_named)
    assert num_found > 0.8 * len(hits) and num_named > 0.6 * num_found  # chance is 1 in 640


@pytest.mark.parametrize(
    'arguments, message',
    [
        (dict(points_per_side=0), 'points_per_side must be at least 1, not 0'),
        (dict(points_per_side=2.5), 'points_per_side must be a whole number, not 2.5'),
        (dict(points_per_side='many'), "points_per_side must be at least 1, not 'many'"),
        (dict(quality_thr=-1), 'quality_thr must lie between 0 and 1, not -1'),
        (dict(nms_iou=float('nan')), 'nms_iou must lie between 0 and 1, not nan'),
        (dict(crop_layers=-1), 'crop_layers must be at least 0, not -1'),
        (dict(crop_layers=1), 'crop_layers and tile_size need the image itself'),
        (dict(top_k=0), 'top_k must be at least 1'),
        (dict(output_mode='binary_mask'), "output_mode is 'binary_mask'; choose one of"),
        (dict(image_index=1), 'image_index is 1'),
    ],
)
def test_bad_argument_is_refused(predictor, arguments, message):
    with pytest.raises(ValueError, match=message):
        segment_everything(predictor, **arguments)
