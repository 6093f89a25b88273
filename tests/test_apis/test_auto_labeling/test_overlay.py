"""Pictures of labels."""

import numpy as np
import pytest
from matplotlib.text import Text
from pycocotools import mask as coco_mask

from mmovsam.apis.auto_labeling.overlay import as_text, draw_objects


def thing(mask, name, bbox):
    counts = coco_mask.encode(np.asfortranarray(mask))['counts']
    return dict(name=name, score=1.0, counts=counts, bbox=bbox, area=int(mask.sum()))


def test_classes_have_the_colors_of_the_palette():
    mask = np.zeros((900, 900), np.uint8)
    mask[300:, :] = 1
    things, image = [thing(mask, 'b', [0, 300, 900, 600])], np.zeros((900, 900, 3), np.uint8)
    drawn = draw_objects(image, things, ['a', 'b'], palette=[(0, 0, 0), (250, 0, 100)])
    assert drawn.shape == image.shape and not drawn[100, 450].any()
    assert drawn[800, 450].tolist() == pytest.approx([40, 0, 100], abs=1)  # BGR


@pytest.mark.parametrize('name', ['$$', 'US$ 5 or US$ 10', '$\\frac$', '$x_', '\\$', 'a_b^c {'])
def test_names_are_no_mathematics(name):
    things = [thing(np.zeros((300, 300), np.uint8), name, [10, 30, 200, 60])]
    drawn = draw_objects(np.zeros((300, 300, 3), np.uint8), things, [name])
    assert (drawn > 200).any()  # white letters
    assert Text()._preprocess_math(as_text(name)) == (name, False)
