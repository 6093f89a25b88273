"""Objects of one image after another."""

import pytest

from mmovsam.apis import OVSAMPredictor
from mmovsam.integrations.finder import ObjectFinder

MODEL = 'mini/ovsam_mini_boxes.py'


def test_finder_finds_what_the_predictor_finds(scene):
    candidates = dict(points_per_side=8)
    finder = ObjectFinder(MODEL, names=scene.names, candidates=candidates)
    predictor = OVSAMPredictor.from_config(MODEL)
    classifier = finder.predictor.classifier
    names = classifier.subset(range(classifier.num_classes), finder.names)
    for score_thr in (None, 0.1, 0.9):
        options = dict(score_thr=0.5 if score_thr is None else score_thr, candidates=candidates)
        expected = predictor.find(names, scene.image, **options)
        found = finder(scene.image, score_thr)
        assert [thing.segmentation for thing in found] == [t['segmentation'] for t in expected]
        assert [thing.names[0] for thing in found] == [thing['name'] for thing in expected]
    finder.score_thr = finder(scene.image, 0)[2].score
    assert len(finder(scene.image)) == 3 < len(finder(scene.image, 0))


def test_everything_is_found_whatever_its_score(scene):
    finder = ObjectFinder(MODEL, names='a, b', prompter='everything', points_per_side=6)
    found = finder(scene.image)
    assert {thing.names[0] for thing in found} <= {'a', 'b'}
    least = min(thing.score for thing in found)
    assert len(finder(scene.image, least + 1e-6)) == len(found) - 1


def test_names_come_as_a_list_as_text_or_from_a_file(tmp_path):
    names = ('plum', 'a red fig')
    (tmp_path / 'names.txt').write_text('\n'.join(names))
    for given in (names, 'plum,a red fig', ' plum , a red fig, ', tmp_path / 'names.txt'):
        assert ObjectFinder(MODEL, names=given).names == names
    assert ObjectFinder(MODEL, names=str(tmp_path / 'names.txt')).names == names
    assert ObjectFinder(MODEL, names='plum').names == ('plum',)
    assert len(ObjectFinder(MODEL, names='coco').names) == 80
    assert ObjectFinder(MODEL).names == OVSAMPredictor.from_config(MODEL).vocabulary
    with pytest.raises(FileNotFoundError, match=r'none\.txt'):
        ObjectFinder(MODEL, names='none.txt')


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(points_per_side=4), 'has no points_per_side; it has score_thr, background'),
        (dict(score_thr=2), 'score_thr must lie between 0 and 1, not 2'),
        (dict(names=','), 'no class|at least one|empty'),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ObjectFinder(MODEL, **options)
