"""Masks made tidy."""

from functools import partial

import numpy as np
import pytest
from small_predictor import HEIGHT, WIDTH
from small_world import mask_of

from mmovsam.apis import label_map, non_overlapping, segment_everything, semantic_map
from mmovsam.apis.tidying import remove_small_regions, tidy_regions, with_mask

ALL = dict(quality_thr=0, stability_thr=0, min_area=1, points_per_side=4, nms_iou=1)


def thing(mask, name='cat', quality=0.5):
    return with_mask(dict(name=name, score=0.7, predicted_iou=quality), mask)


def rectangle(y1, y2, x1, x2, shape=(40, 50)):
    mask = np.zeros(shape, bool)
    mask[y1:y2, x1:x2] = True
    return mask


def test_islands_and_holes_below_the_area_go_and_others_stay():
    mask = rectangle(5, 30, 5, 30)
    mask[18:22, 18:22] = False  # a hole of 16
    mask[34:38, 10:14] = True  # an island of 16
    mask[38, 14] = True  # connected to it by a corner
    small = mask.copy()
    small[10:13, 10:13], small[35:38, 40:43] = False, True  # of 9
    for given in (small, mask):
        tidy, changed = remove_small_regions(given, 10)
        assert changed == (given is small) and np.array_equal(tidy, mask)


def test_a_mask_that_was_tidy_stays_before_one_that_becomes_like_it():
    tidy = rectangle(5, 30, 5, 30)
    with_hole = tidy.copy()
    with_hole[10:12, 10:12] = False
    other = rectangle(32, 39, 5, 30)
    things = [thing(with_hole, quality=0.9), thing(tidy, quality=0.6), thing(other)]
    kept = tidy_regions(things, 10, nms_iou=0.7)
    assert kept == things[1:]
    both = tidy_regions(things, 10, nms_iou=1.0)
    assert len(both) == 3 and both[0]['area'] == tidy.sum()
    assert both[0]['bbox'] == things[1]['bbox'] and both[0]['predicted_iou'] == 0.9


def test_the_smaller_lies_on_top():
    whole, part = rectangle(0, 30, 0, 30), rectangle(5, 15, 20, 40)
    left = non_overlapping([thing(whole, quality=0.9), thing(part, 'dog', 0.1)])
    assert np.array_equal(mask_of(left[0]), whole & ~part)
    assert np.array_equal(mask_of(left[1]), part)
    assert left[0]['area'] == (whole & ~part).sum() and left[0]['bbox'] == [0, 0, 30, 30]
    assert [each['name'] for each in left] == ['cat', 'dog']


def test_each_pixel_has_the_id_of_its_mask():
    things = [
        thing(rectangle(0, 10, 0, 10), 'dog'),
        thing(rectangle(10, 30, 5, 25), 'cat'),
        thing(rectangle(30, 40, 0, 50), 'dog'),
    ]
    ids, segments = label_map(things, (40, 50))
    assert ids.shape == (40, 50) and ids.dtype == np.int32
    for number, (each, segment) in enumerate(zip(things, segments), 1):
        assert np.array_equal(ids == number, mask_of(each))
        kept = {key: each[key] for key in ('name', 'score', 'area', 'bbox')}
        category_id = 2 if each['name'] == 'cat' else 1
        assert segment == dict(kept, id=number, category_id=category_id, iscrowd=0)
    _, segments = label_map(things, (40, 50), ['cat', 'dog'])
    assert [each['category_id'] for each in segments] == [2, 1, 2]
    assert label_map([], (3, 4))[0].tolist() == [[0] * 4] * 3
    overlapping = [thing(rectangle(0, 10, 0, 10)), thing(rectangle(9, 12, 9, 12))]
    with pytest.raises(ValueError, match='Mask 2 overlaps another one.*non_overlapping=True'):
        label_map(overlapping, (40, 50))


@pytest.mark.parametrize('output_mode', ['rle', 'mask'])
def test_maps_are_of_the_shape_of_the_masks(predictor, output_mode):
    found = segment_everything(predictor, **ALL, non_overlapping=True, output_mode=output_mode)
    for make in (label_map, partial(semantic_map, names=['cat'])):
        with pytest.raises(ValueError, match=rf'masks are \({HEIGHT}, {WIDTH}\), \(H, W\), but'):
            make(found, shape=(WIDTH, HEIGHT))


def test_everything_without_overlaps_is_a_label_map(predictor):
    overlapping = segment_everything(predictor, **ALL)
    found = segment_everything(predictor, **ALL, non_overlapping=True)
    owners = sum(mask_of(each).astype(int) for each in overlapping)
    assert owners.max() > 1
    ids, _ = label_map(found, (HEIGHT, WIDTH))
    assert np.array_equal(ids > 0, owners > 0)
    as_arrays = segment_everything(predictor, **ALL, non_overlapping=True, output_mode='mask')
    assert np.array_equal(label_map(as_arrays, (HEIGHT, WIDTH))[0], ids)
    assert [each['area'] for each in as_arrays] == [each['area'] for each in found]
