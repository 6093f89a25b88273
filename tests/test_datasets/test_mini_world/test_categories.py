from itertools import product

from mmovsam.datasets.mini_world import CATEGORIES, COLORS, PATTERNS, SHAPES, lvis_categories


def test_a_fifth_of_640_categories_is_novel():
    assert len(CATEGORIES) == 640
    assert len({category.name for category in CATEGORIES}) == 640
    assert sum(category.novel for category in CATEGORIES) == 128


def test_every_attribute_and_every_pair_of_attributes_is_seen_among_base_categories():
    base = [category for category in CATEGORIES if not category.novel]
    sizes = dict(pattern=len(PATTERNS), color=len(COLORS), shape=len(SHAPES))
    for first, second in (('pattern', 'color'), ('pattern', 'shape'), ('color', 'shape')):
        seen = {(getattr(category, first), getattr(category, second)) for category in base}
        assert seen == set(product(range(sizes[first]), range(sizes[second])))


def test_base_categories_are_half_common_and_half_frequent():
    letters = [category.frequency for category in CATEGORIES]
    assert (letters.count('r'), letters.count('c'), letters.count('f')) == (128, 256, 256)


def test_lvis_categories_have_the_fields_of_lvis_and_ids_from_one():
    categories = lvis_categories()
    assert [category['id'] for category in categories] == list(range(1, 641))
    for category in categories:
        assert set(category) == {'id', 'name', 'synonyms', 'synset', 'frequency', 'def'}
