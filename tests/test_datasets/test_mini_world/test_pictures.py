import numpy as np
import pytest

from mmovsam.datasets.mini_world import CATEGORIES, draw_picture


@pytest.mark.parametrize('size', [1, 64, 128])
def test_pictures_have_the_size_that_was_asked_for(size):
    image, category_id = draw_picture(np.random.default_rng(0), size)
    assert image.shape == (size, size, 3)
    assert image.dtype == np.uint8
    assert 1 <= category_id <= len(CATEGORIES)


def test_the_same_source_of_chance_gives_the_same_picture():
    first, second = (draw_picture(np.random.default_rng(3)) for _ in range(2))
    assert first[1] == second[1]
    np.testing.assert_array_equal(first[0], second[0])


def test_pictures_show_base_and_novel_categories_alike():
    novel = {category.id for category in CATEGORIES if category.novel}
    ids = [draw_picture(np.random.default_rng([1, i]), 16)[1] for i in range(400)]
    assert 0.13 < np.mean([i in novel for i in ids]) < 0.27
