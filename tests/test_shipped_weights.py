"""What the shipped weights do on scenes that training never saw."""

import numpy as np
import pytest

import mmovsam  # noqa: F401

# isort: split
import torch
from compare_precision import compare
from mini_world import CATEGORIES, draw_scene

from mmovsam.apis import OVSAMPredictor
from mmovsam.evaluation.open_vocab_metric import mask_iou

SEED = 7
NUM_SCENES = 12


@pytest.fixture(scope='module')
def predictor():
    return OVSAMPredictor.from_config('mini/ovsam_mini_boxes.py')


@pytest.fixture(scope='module')
def answers(predictor):
    """(IoU, right name or not, novel or not) of every object, prompted by its box."""
    print(f'seed {SEED}')
    found = []
    for index in range(NUM_SCENES):
        scene = draw_scene(np.random.default_rng([SEED, index]), 'test')
        predictor.set_image(scene.image)
        for category_id, mask in zip(scene.category_ids, scene.masks):
            rows, columns = np.nonzero(mask)
            box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            result = predictor.predict(box=box)
            category = CATEGORIES[category_id - 1]
            right = result.names[0][0] == category.name
            found.append((mask_iou(result.masks[0], mask.astype(bool)), right, category.novel))
    return np.array(found, float)


def test_boxes_become_masks_with_names_that_training_gave_and_others(answers):
    assert answers[:, 0].mean() > 0.83
    for novel, least in ((0, 0.75), (1, 0.7)):  # chance is 1 in 640
        assert answers[answers[:, 2] == novel, 1].mean() > least


def test_a_list_of_words_replaces_the_vocabulary(predictor):
    scene = draw_scene(np.random.default_rng([SEED, 0]), 'test')
    predictor.set_image(scene.image)
    predictor.set_vocabulary(['a red thing', 'a blue thing'])
    result = predictor.predict(box=[10, 10, 100, 100])
    assert set(result.names[0]) == {'a red thing', 'a blue thing'}


def test_half_precision_changes_few_names_and_hardly_a_mask():
    said = compare('mini/ovsam_mini_boxes.py', torch.bfloat16, 6, SEED)
    print(said)
    assert said['objects'] > 30 and said['equal_labels'] > 0.95
    assert said['mean_iou'] > 0.99 and said['least_iou'] > 0.9
