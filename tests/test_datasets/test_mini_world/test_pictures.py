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


def test_the_object_covers_the_middle_of_the_frame():
    greenish = []
    for i in range(600):
        image, category_id = draw_picture(np.random.default_rng([2, i]), 32)
        name = CATEGORIES[category_id - 1].name
        if name.startswith('plain green') and not name.endswith(('ring', 'zero', 'crescent')):
            red, green, blue = image[8:24, 8:24].reshape(-1, 3).astype(float).T
            greenish.append(np.mean((green > red + 20) & (green > blue + 10)))
    assert len(greenish) > 5
    assert np.mean(greenish) > 0.35
