"""Regions that were drawn and the prompts that they mean."""

import numpy as np
import pytest
from label_studio_requests import point, rectangle

from mmovsam.label_studio.regions import read_prompts, target_image

WIDTH, HEIGHT = 80, 60
BOX, OTHER_BOX = [8, 6, 40, 30], [44, 33, 76, 54]


def prompts(*regions):
    """The prompts, with numbers rounded to pixels of a thousandth."""
    return [
        {key: np.round(value, 3).tolist() for key, value in prompt.items()}
        for prompt in read_prompts(regions, WIDTH, HEIGHT)
    ]


def at(x, y, positive=True, **changes):
    return point(x, y, WIDTH, HEIGHT, positive, **changes)


def around(box, **changes):
    return rectangle(box, WIDTH, HEIGHT, **changes)


def test_points_are_one_object_and_negative_ones_its_background():
    labeled, silent = at(60, 45), at(20, 15, type='keypoint')
    labeled['value']['keypointlabels'] = ['Background']
    del silent['is_positive'], silent['value']['keypointlabels'], silent['value']['labels']
    expected = dict(point_coords=[[20, 15], [60, 45]], point_labels=[1, 0])
    for foreground in (at(20, 15), silent):
        for background in (at(60, 45, positive=False), labeled):
            assert prompts(foreground, background) == [expected]
    assert prompts(background) == [] == prompts()


def test_one_rectangle_has_all_points_and_several_those_that_are_in_them():
    expected = dict(box=BOX, point_coords=[[10, 10], [70, 50]], point_labels=[1, 0])
    assert prompts(at(10, 10), around(BOX), at(70, 50, positive=False)) == [expected]
    assert prompts(around(BOX), around(OTHER_BOX)) == [dict(box=BOX), dict(box=OTHER_BOX)]
    found = prompts(around(BOX), around(OTHER_BOX), at(10, 10), at(50, 40, positive=False))
    assert found == [
        dict(box=BOX, point_coords=[[10, 10]], point_labels=[1]),
        dict(box=OTHER_BOX, point_coords=[[50, 40]], point_labels=[0]),
    ]
    with pytest.raises(ValueError, match='point at 42, 5 is in none of the 2 rectangles'):
        prompts(around(BOX), around(OTHER_BOX), at(42, 5))


def test_rectangles_that_were_only_clicked_or_that_are_turned():
    clicked = around([20, 20, 20, 20])
    assert prompts(clicked, around(BOX)) == prompts(around(BOX))
    assert prompts(around([20, 20, 30, 20]), at(10, 10)) == prompts(at(10, 10))
    assert prompts(clicked) == [dict(box=[20, 20, 20, 20])]  # which the predictor refuses by name
    # by a quarter about its upper left corner: what was its height goes to the left
    assert prompts(around([40, 10, 60, 20], rotation=90)) == [dict(box=[30, 10, 40, 30])]


def test_other_regions_are_left_out():
    choice = dict(type='choices', to_name='image', value=dict(choices=['a']))
    assert prompts(at(20, 15), choice) == prompts(at(20, 15))
    assert target_image([choice, at(20, 15)]) == ('image', 0) and target_image([]) is None
    assert target_image([at(20, 15, item_index=2)]) == ('image', 2)


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(original_width=81), '81x60 pixels, but the image has 80x60'),
        (dict(image_rotation=90), 'turned by 90 degrees'),
        (dict(value=dict(x=5)), r"y of a region of type 'keypointlabels'.*not None"),
        (dict(value=dict(x='5', y=5)), "not '5'"),
        (dict(value=dict(x=True, y=5)), 'not True'),
        (dict(value=dict(x=float('nan'), y=5)), 'not nan'),
    ],
)
def test_bad_region_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        prompts(at(20, 15, **change))


@pytest.mark.parametrize(
    'regions, message',
    [
        ([at(1, 1), at(1, 1, to_name='back')], r"in several images: \[\('back', 0\), \('image"),
        ([at(1, 1), at(1, 1, item_index=1)], 'in several images'),
        ([at(1, 1, item_index=[])], r'item_index is a number, not \[\]'),
        ([dict(type='brushlabels', value=dict(rle=[]))], "'brushlabels' are no prompts.*smart"),
        (['point'], "each with a value, not 'point'"),
        ([dict(type='keypointlabels')], 'each with a value'),
    ],
)
def test_regions_that_are_no_prompts_are_refused(regions, message):
    with pytest.raises(ValueError, match=message):
        target_image(regions)
