import math
import tracemalloc
import weakref
from collections import Counter

import numpy as np
import pytest
import tiny
import torch
from mmdet.registry import MODELS
from pycocotools import mask as coco_mask
from small_predictor import HEIGHT, WIDTH, build
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mmovsam.apis import OVSAMPredictor, segment_everything
from mmovsam.datasets.mini_world import CATEGORIES, draw_scene
from mmovsam.evaluation.open_vocab_metric import mask_iou
from mmovsam.models.detectors import instances

SEED = 7
ALL = dict(quality_thr=0, stability_thr=0, min_area=1)
"""A random model's masks are of no quality."""


@pytest.fixture(scope='module')
def shipped():
    return OVSAMPredictor.from_config('mini/ovsam_mini_boxes.py')


def scene(index):
    return draw_scene(np.random.default_rng([SEED, index]), 'test')


def mask_of(thing):
    return coco_mask.decode(thing['segmentation']).astype(bool)


def test_each_mask_is_described_as_sams_users_know_it(predictor):
    found = segment_everything(predictor, points_per_side=4, top_k=3, **ALL)
    assert found
    for thing in found:
        mask = mask_of(thing)
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


@pytest.fixture(scope='module')
def sure():
    """A model with three masks for a point, and an opinion of each between 0 and 1."""
    model = build(head=dict(mask_decoder=dict(num_masks=4, with_iou=True)))
    with torch.no_grad():
        model.head.mask_decoder.iou_prediction_head.layers[-1].bias.fill_(0.5)
    return model


def test_mask_name_and_quality_are_what_the_point_alone_gives(predictor, sure, picture):
    for model, masks_of_each in ((predictor.model, 1), (sure, 3)):
        predictor = OVSAMPredictor(model)
        settings = dict(ALL, points_per_side=4, points_per_batch=3, nms_iou=1)
        found = segment_everything(predictor, picture, **settings)
        which = set()
        for thing in found:
            alone = predictor.predict(point_coords=thing['point_coords'], point_labels=[1])
            differences = [(mask != mask_of(thing)).mean() for mask in alone.masks]
            i = int(np.argmin(differences))
            assert differences[i] < 1e-3
            assert thing['names'] == alone.names[i]
            quality = thing['stability_score' if masks_of_each == 1 else 'predicted_iou']
            assert quality == pytest.approx(alone.scores[i], abs=1e-3)
            which.add(i)
        assert len(which) == masks_of_each


def test_grid_is_even_and_its_size_is_asked_for(predictor):
    everywhere = dict(ALL, nms_iou=1)
    found = segment_everything(predictor, points_per_side=8, **everywhere)
    points = {tuple(thing['point_coords'][0]) for thing in found}
    assert points <= {(10 * i + 4.5, 10 * j + 4.5) for i in range(8) for j in range(6)}
    fewer = segment_everything(predictor, points_per_side=2, **everywhere)
    assert len(fewer) <= 4 < len(found)


def test_batches_change_nothing(predictor):
    one, other = (
        segment_everything(predictor, points_per_side=6, points_per_batch=n, **ALL) for n in (1, 99)
    )
    assert [t['point_coords'] for t in one] == [t['point_coords'] for t in other]
    np.testing.assert_allclose([t['score'] for t in one], [t['score'] for t in other], rtol=1e-3)


def test_masks_that_overlap_a_better_one_are_left_out(shipped):
    shipped.set_image(scene(0).image)
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
    [('stability_thr', 'stability_score'), ('min_area', 'area'), ('name_score_thr', 'score')],
)
def test_limit_leaves_out_what_is_below_and_nothing_else(shipped, limit, key):
    shipped.set_image(scene(0).image)
    settings = dict(ALL, points_per_side=6, nms_iou=1)
    everything = segment_everything(shipped, **settings)
    values = sorted(thing[key] for thing in everything)
    thr = (values[len(values) // 2] + values[len(values) // 2 - 1]) / 2
    kept = segment_everything(shipped, **{**settings, limit: thr})
    assert len(kept) == sum(value >= thr for value in values) < len(everything)
    assert min(thing[key] for thing in kept) >= thr


def test_predicted_quality_is_a_limit_where_there_is_one(sure, predictor, picture):
    settings = dict(ALL, points_per_side=4, nms_iou=1)
    everything = segment_everything(OVSAMPredictor(sure), picture, **settings)
    values = sorted(thing['predicted_iou'] for thing in everything)
    thr = values[len(values) // 2]
    kept = segment_everything(OVSAMPredictor(sure), picture, **{**settings, 'quality_thr': thr})
    assert 0 < len(kept) == sum(value >= thr for value in values) < len(everything)
    assert segment_everything(predictor, **{**settings, 'quality_thr': 1.0})


def test_thresholds_that_suit_the_model_are_the_default(sure, picture):
    settings = dict(points_per_side=4, min_area=1)
    ours = OVSAMPredictor(sure, everything=dict(quality_thr=0, stability_thr=0))
    expected = segment_everything(OVSAMPredictor(sure), picture, **{**settings, **ALL})
    assert expected and segment_everything(ours, picture, **settings) == expected
    assert segment_everything(ours.fork(), picture, **settings) == expected
    assert len(segment_everything(ours, picture, stability_thr=0.99, **settings)) < len(expected)


def test_nothing_good_is_an_empty_list(predictor):
    assert segment_everything(predictor, **dict(ALL, min_area=HEIGHT * WIDTH + 1)) == []
    assert segment_everything(predictor, stability_thr=1.0, points_per_side=2) == []


def test_arrays_are_the_decoded_run_lengths(predictor):
    one, other = (
        segment_everything(predictor, points_per_side=4, output_mode=mode, **ALL)
        for mode in ('rle', 'mask')
    )
    assert len(one) == len(other) > 0
    for rle, array in zip(one, other):
        assert array['segmentation'].dtype == bool
        assert np.array_equal(array['segmentation'], mask_of(rle))


def test_image_that_is_given_is_set(model, picture):
    fresh = OVSAMPredictor(model)
    found = segment_everything(fresh, picture, points_per_side=4, **ALL)
    again = segment_everything(fresh, points_per_side=4, **ALL)
    assert found == again
    bgr = np.ascontiguousarray(picture[..., ::-1])
    assert segment_everything(fresh, bgr, image_format='BGR', points_per_side=4, **ALL) == found


def test_one_of_several_images_is_chosen(predictor, picture):
    expected = segment_everything(predictor, points_per_side=4, **ALL)
    predictor.set_image_batch([picture[::-1, ::-1].copy(), picture])
    chosen = segment_everything(predictor, image_index=1, points_per_side=4, **ALL)
    assert [t['point_coords'] for t in chosen] == [t['point_coords'] for t in expected]
    assert segment_everything(predictor, points_per_side=4, **ALL) != chosen


def test_model_without_names_has_the_quality_as_score(picture):
    predictor = OVSAMPredictor(MODELS.build(tiny.SAM))
    found = segment_everything(predictor, picture, points_per_side=4, **ALL)
    assert found
    for thing in found:
        assert thing['name'] is None and thing['names'] == thing['name_scores'] == []
        assert thing['score'] == thing['stability_score']


@pytest.mark.parametrize('shape', [(1, 1), (1, 200), (150, 2)])
def test_images_of_one_pixel_have_a_result(predictor, shape):
    image = np.full((*shape, 3), 90, np.uint8)
    for thing in segment_everything(predictor, image, crop_layers=1, **ALL):
        assert mask_of(thing).shape == shape


# Crops


def test_crops_lie_in_the_image_and_their_masks_in_them(shipped):
    image = scene(0).image
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


def test_crops_give_masks_where_the_objects_are_and_none_twice(shipped):
    image, objects = scene(0).image, scene(0).masks
    found = segment_everything(shipped, image, crop_layers=1, points_per_side=8)
    masks = [thing['segmentation'] for thing in found]
    ious = coco_mask.iou(masks, masks, [0] * len(masks)) - np.eye(len(masks))
    assert ious.max() <= 0.7
    cropped = [mask_of(thing) for thing in found if thing['crop_box'][2] < image.shape[1]]
    hits = [max(mask_iou(mask, one > 0) for one in objects) > 0.5 for mask in cropped]
    assert sum(hits) >= 2


# What it is for


def test_objects_of_the_small_world_are_found_and_named(shipped):
    print('seed', SEED)
    num_objects = num_found = num_named = 0
    for index in range(3):
        drawn = scene(index)
        found = segment_everything(shipped, drawn.image)
        masks = [mask_of(thing) for thing in found]
        for category_id, mask in zip(drawn.category_ids, drawn.masks):
            ious = [mask_iou(mask > 0, other) for other in masks]
            num_objects += 1
            if max(ious) > 0.5:
                num_found += 1
                name = found[int(np.argmax(ious))]['name']
                num_named += name == CATEGORIES[category_id - 1].name
    print(num_objects, num_found, num_named)
    assert num_found > 0.8 * num_objects
    assert num_named > 0.6 * num_found  # chance is 1 in 640


class Peak(TorchDispatchMode):
    """The largest number of bytes that tensors took at once."""

    def __init__(self):
        super().__init__()
        self.users, self.bytes, self.peak = Counter(), 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                place, size = storage.data_ptr(), storage.nbytes()
                self.bytes += size * (self.users[place] == 0)
                self.users[place] += 1
                self.peak = max(self.peak, self.bytes)
                weakref.finalize(tensor, self.release, place, size)
        return result

    def release(self, place, size):
        self.users[place] -= 1
        self.bytes -= size * (self.users[place] == 0)


def test_memory_does_not_grow_with_the_number_of_masks(predictor, monkeypatch):
    height, width = 600, 800
    mask_bytes = height * width
    predictor.set_image(np.zeros((height, width, 3), np.uint8))
    monkeypatch.setattr(instances, 'PIXELS_AT_ONCE', mask_bytes)
    peaks = {}
    for mode in ('rle', 'mask'):
        tracemalloc.start()
        with Peak() as tensors:
            settings = dict(ALL, points_per_side=8, nms_iou=1, output_mode=mode)
            found = segment_everything(predictor, **settings)
        peaks[mode] = tensors.peak + tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert len(found) > 40
    # one mask at a time: its logits, float32 and in steps, and what encodes it
    assert peaks['rle'] < 25 * mask_bytes
    assert peaks['mask'] > len(found) * mask_bytes  # the measure sees what the result holds


@pytest.mark.parametrize(
    'arguments, message',
    [
        (dict(points_per_side=0), 'points_per_side must be at least 1, not 0'),
        (dict(points_per_batch=0), 'points_per_batch must be at least 1, not 0'),
        (dict(stability_thr=1.5), 'stability_thr must lie between 0 and 1, not 1.5'),
        (dict(quality_thr=-1), 'quality_thr must lie between 0 and 1, not -1'),
        (dict(nms_iou=float('nan')), 'nms_iou must lie between 0 and 1, not nan'),
        (dict(crop_layers=-1), 'crop_layers must be at least 0, not -1'),
        (dict(crop_layers=1), 'crop_layers need the image itself'),
        (dict(min_area=-1), 'min_area must be at least 0'),
        (dict(top_k=0), 'top_k must be at least 1'),
        (dict(output_mode='binary_mask'), "output_mode is 'binary_mask'; choose one of"),
        (dict(image_index=1), 'image_index is 1'),
    ],
)
def test_bad_argument_is_refused(predictor, arguments, message):
    with pytest.raises(ValueError, match=message):
        segment_everything(predictor, **arguments)


def test_no_image_at_all_is_told(model):
    with pytest.raises(RuntimeError, match='No image is set'):
        segment_everything(OVSAMPredictor(model))
