import numpy as np
import pytest

from mmovsam.datasets.mini_world import CATEGORIES, SPLITS, draw_scene


def scenes(split, count=40):
    return [draw_scene(np.random.default_rng([7, i]), split) for i in range(count)]


@pytest.mark.parametrize('split', SPLITS)
def test_scenes_have_three_to_ten_objects_on_a_canvas_of_320_pixels(split):
    for scene in scenes(split):
        height, width, channels = scene.image.shape
        assert (max(height, width), channels) == (320, 3)
        assert min(height, width) >= 224
        assert scene.image.dtype == np.uint8
        assert 3 <= len(scene.category_ids) <= 10
        assert scene.masks.shape == (len(scene.category_ids), height, width)


@pytest.mark.parametrize('split', SPLITS)
def test_masks_do_not_overlap_and_each_has_200_visible_pixels(split):
    for scene in scenes(split):
        assert scene.masks.sum(axis=0).max() <= 1
        assert scene.masks.sum(axis=(1, 2)).min() >= 200


def test_novel_categories_never_occur_in_training():
    novel = {category.id for category in CATEGORIES if category.novel}
    assert not novel & {i for scene in scenes('train', 60) for i in scene.category_ids}


@pytest.mark.parametrize('split', ['val', 'test'])
def test_a_third_of_the_objects_is_novel_outside_of_training(split):
    novel = {category.id for category in CATEGORIES if category.novel}
    share = np.mean([i in novel for scene in scenes(split, 60) for i in scene.category_ids])
    assert 0.23 < share < 0.43


def test_an_unknown_split_is_a_value_error_that_names_the_splits():
    with pytest.raises(ValueError, match="'minival'.*'train', 'val', 'test'"):
        draw_scene(np.random.default_rng(0), 'minival')
