import colorsys

import numpy as np
import pytest

from mmovsam.datasets.mini_world import CATEGORIES, COLORS, PATTERNS, SHAPES
from mmovsam.datasets.mini_world.drawing import _digit_scans, draw_object


def category_named(name):
    return next(category for category in CATEGORIES if category.name == name)


@pytest.mark.parametrize('shape', SHAPES)
def test_the_longest_side_is_the_size_that_was_asked_for(shape):
    category = category_named(f'plain red {shape}')
    for size in (44, 150):
        _, alpha = draw_object(np.random.default_rng(0), category, size, 0.0)
        assert (
            0.75 * size <= max((alpha > 0.5).any(axis=axis).sum() for axis in (0, 1)) <= size * 1.1
        )


@pytest.mark.parametrize('shape', SHAPES)
def test_edges_are_antialiased_and_the_inside_is_solid(shape):
    _, alpha = draw_object(np.random.default_rng(0), category_named(f'plain red {shape}'), 80, 13.0)
    assert alpha.dtype == np.float32
    assert alpha.min() >= 0
    assert alpha.max() == 1
    partial = np.mean((alpha > 0.02) & (alpha < 0.98))
    assert 0 < partial < 0.25


@pytest.mark.parametrize('color', COLORS)
def test_color_jitter_keeps_every_shade_nearest_to_its_own_color(color):
    hues = dict(red=357, orange=28, yellow=54, green=132, blue=224, purple=284)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        colors, _ = draw_object(rng, category_named(f'plain {color} square'), 40, 0.0)
        hue, saturation, value = colorsys.rgb_to_hsv(*(colors[20, 20] / 255.0))
        if color in hues:
            distance = {c: abs((hue * 360 - h + 180) % 360 - 180) for c, h in hues.items()}
            assert min(distance, key=distance.get) == color, f'seed {seed}'
        else:
            assert saturation < 0.1
            assert (value > 0.8) == (color == 'white')


@pytest.mark.parametrize('pattern', PATTERNS)
def test_patterns_have_two_shades_even_on_the_smallest_objects(pattern):
    category = category_named(f'{pattern} blue circle')
    colors, alpha = draw_object(np.random.default_rng(0), category, 32, 30.0)
    brightness = colors[alpha > 0.99].astype(float).mean(axis=1)
    contrast = np.percentile(brightness, 90) - np.percentile(brightness, 10)
    assert contrast < 1 if pattern == 'plain' else contrast > 40


def test_the_pattern_turns_with_the_object():
    category = category_named('striped red square')
    upright, _ = draw_object(np.random.default_rng(0), category, 80, 0.0)
    turned, _ = draw_object(np.random.default_rng(0), category, 80, 90.0)
    upright, turned = upright[20:50, 20:50].astype(float), turned[20:50, 20:50].astype(float)
    assert upright.std(axis=1).mean() > 10 * upright.std(axis=0).mean()
    assert turned.std(axis=0).mean() > 10 * turned.std(axis=1).mean()


def test_digit_scans_of_the_test_split_are_none_of_the_training_ones():
    training, held_out = _digit_scans()
    for digit in range(10):
        scans = {field.tobytes() for field, _ in training[digit]}
        others = [field.tobytes() for field, _ in held_out[digit]]
        assert scans.isdisjoint(others)
        assert 0.2 < len(others) / (len(others) + len(training[digit])) < 0.3
        assert len(others) >= 10
