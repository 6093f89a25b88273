"""mIoU of maps of classes."""

import numpy as np
import pytest

from mmovsam.evaluation.semantic import semantic_scores
from mmovsam.vocabulary import Vocabulary


def by_hand(maps, number):
    """mIoU, mAcc and aAcc in percent, from the definition."""
    predicted, annotated = (np.concatenate([each.ravel() for each in side]) for side in zip(*maps))
    predicted, annotated = predicted[annotated >= 0], annotated[annotated >= 0]
    ious, accuracies = [], []
    for label in range(number):
        one, other = predicted == label, annotated == label
        if (one | other).any():
            ious.append((one & other).sum() / (one | other).sum())
        if other.any():
            accuracies.append((one & other).sum() / other.sum())
    return [100 * np.mean(each) for each in (ious, accuracies, predicted == annotated)]


def test_scores_are_those_of_the_definition():
    print('seed 4')
    random = np.random.default_rng(4)
    for number in (3, 300):
        maps = []
        for shape in ((20, 30), (40, 10)):
            annotated = random.integers(-1, number - 1, shape)  # the last class is in no image
            predicted = np.where(random.random(shape) < 0.6, annotated, random.integers(-1, 2))
            maps.append((predicted.astype(np.int32), annotated.astype(np.int32)))
        scores, expected = semantic_scores(maps, number), by_hand(maps, number)
        scores = [scores[key] for key in ('mIoU', 'mAcc', 'aAcc')]
        assert scores == pytest.approx(expected, abs=0.01)
    assert expected[1] != pytest.approx(expected[2], abs=0.5)


def test_vocabularies_of_semantic_segmentation():
    ade20k, context = (Vocabulary.from_source(word) for word in ('ade20k', 'pascal_context'))
    assert len(ade20k) == 150 and ade20k.names[:3] == ('wall', 'building', 'sky')
    assert ade20k.names[7] == 'bed' and ade20k.names[-1] == 'flag'
    assert len(context) == 59 and context.names[0] == 'aeroplane' and context.names[-1] == 'wood'
    assert len(set(context.names)) == 59
