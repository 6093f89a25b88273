import json
import logging

import numpy as np
import pytest
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample

from mmovsam.prompts import FilePrompter, PromptFilter

CATEGORIES = [dict(id=18, name='dog'), dict(id=1, name='person'), dict(id=17, name='cat')]


def entry(image_id=1, bbox=(1, 2, 3, 4), score=0.5, **more):
    return dict(image_id=image_id, bbox=list(bbox), score=score, **more)


def sample(img_id=None, img_path=None, **metainfo):
    return DetDataSample(metainfo=dict(img_id=img_id, img_path=img_path, **metainfo))


@pytest.fixture
def results(tmp_path):
    """Writes entries to a file and prompts from it."""

    def build(*entries, **arguments):
        path = tmp_path / 'results.json'
        path.write_text(json.dumps(entries))
        return FilePrompter(path, **arguments)

    return build


@pytest.fixture
def log(monkeypatch):
    messages = []
    monkeypatch.setattr(
        'mmovsam.prompts.file_prompter.print_log',
        lambda message, level, **kwargs: messages.append((message, level)),
    )
    return messages


def test_each_image_gets_its_own_boxes_in_the_files_order(results):
    prompter = results(
        entry(2, (1, 2, 3, 4), 0.25), entry(5, (0, 0, 9, 9), 1), entry(2, (5, 5, 1, 1), 0.75)
    )
    two, one, five = prompter([sample(2), sample(1), sample(5)])
    assert two.bboxes.tolist() == [[1, 2, 4, 6], [5, 5, 6, 6]]
    assert two.scores.tolist() == [0.25, 0.75]
    assert two.labels is None and prompter.classes is None
    assert len(one) == 0
    assert five.bboxes.tolist() == [[0, 0, 9, 9]]


def test_file_prompts_as_its_detector_does(tmp_path):
    entries = [
        entry(7, (1, 2, 29, 38), 0.9, category_id=18),
        entry(7, (5, 5, 4, 65), 0.4, category_id=1),
        entry(7, (70, 5, 20, 4), 0.3, category_id=17),
    ]
    (tmp_path / 'results.json').write_text(json.dumps(entries))
    settings = dict(score_thr=0.05, max_per_img=3)
    file = str(tmp_path / 'results.json')
    prompter = MODELS.build(
        dict(type='FilePrompter', file=file, categories=CATEGORIES, filter=settings)
    )
    prompts, nothing = prompter([sample(7, ori_shape=(50, 60)), sample(8, ori_shape=(50, 60))])
    assert prompter.filter == PromptFilter(**settings)
    assert prompts.bboxes.tolist() == [[1, 2, 30, 40], [5, 5, 9, 50]], 'cut off, outside dropped'
    assert prompts.labels.tolist() == [2, 0] and prompter.classes == ('person', 'cat', 'dog')
    assert len(nothing) == 0


@pytest.mark.parametrize(
    ('image_id', 'asked'),
    [
        (5, sample(5)),
        (5, sample(np.int64(5), 'val/6.jpg')),
        ('val/5.jpg', sample(0, 'data/val/5.jpg')),
        ('5.jpg', sample(0, 'data/val/5.jpg')),
        ('5', sample(0, 'data/val/5.jpg')),
        ('five', sample('five')),
    ],
)
def test_images_are_found_by_id_or_by_file_name(results, image_id, asked):
    assert len(results(entry(image_id))([asked])[0]) == 1


def test_id_is_never_taken_for_a_file_name(results):
    prompts = results(entry(5))([sample(6, 'data/5.jpg'), sample('5'), sample(None, '5.jpg')])
    assert [len(found) for found in prompts] == [0, 0, 0]


@pytest.mark.parametrize('from_file', [False, True])
def test_labels_follow_the_order_of_category_ids(results, tmp_path, from_file):
    categories = CATEGORIES
    if from_file:
        categories = tmp_path / 'annotations.json'
        categories.write_text(json.dumps(dict(categories=CATEGORIES, images=[dict(id=1)])))
    prompter = results(
        entry(category_id=18), entry(category_id=1), entry(category_id=17), categories=categories
    )
    assert prompter.classes == ('person', 'cat', 'dog')
    assert prompter([sample(1)])[0].labels.tolist() == [2, 0, 1]


def test_classes_change_the_order_of_labels(results):
    entries = [entry(category_id=18), entry(category_id=1)]
    prompter = results(*entries, categories=CATEGORIES, classes=['bird', 'dog', 'person'])
    assert prompter.classes == ('bird', 'dog', 'person')
    assert prompter([sample(1)])[0].labels.tolist() == [1, 2]


@pytest.mark.parametrize(
    ('bad', 'arguments', 'message'),
    [
        (entry(category_id=3), {}, r'entry 1 has category_id 3 \(known: \[1, 17, 18\]'),
        (entry(), {}, 'entry 1 has no category_id'),
        (entry(category_id=17), dict(classes=['dog']), "entry 1 has category_id 17 .'cat', not"),
    ],
)
def test_category_without_a_label_is_named(results, bad, arguments, message):
    prompter = results(entry(category_id=18), bad, categories=CATEGORIES, **arguments)
    with pytest.raises(ValueError, match=f'results.json: {message}'):
        prompter([sample(1)])


def test_bad_boxes_are_dropped_and_counted_once(results, log):
    nan, inf = float('nan'), float('inf')
    bad = [(nan, 0, 1, 1), (0, 0, inf, 1), (0, 0, 0, 5), (0, 0, -1, 5), (3, 3, 5, -1)]
    prompter = results(entry(score=nan), *(entry(bbox=b) for b in bad), entry(bbox=(0, 0, 1, 1)))
    for _ in range(2):
        assert prompter([sample(1)])[0].bboxes.tolist() == [[0, 0, 1, 1]]
    ((message, level),) = log
    assert 'of 7 boxes 3 that are not finite and 3 without area are dropped' in message
    assert level == logging.WARNING


def annotations(tmp_path, *images):
    path = tmp_path / 'annotations.json'
    path.write_text(json.dumps(dict(categories=CATEGORIES, images=images)))
    return path


def test_boxes_of_unknown_images_are_told_once(results, tmp_path, log):
    known = annotations(tmp_path, dict(id=1, file_name='val/a.jpg'))
    entries = [entry(i, category_id=1) for i in (1, 'a', 'val/a.jpg', 2, 3)]
    prompter = results(*entries, categories=known)
    prompter([sample(1), sample(1)])
    ((message, level),) = log
    assert '2 of the 5 images in' in message and 'such as [2, 3]' in message
    assert level == logging.WARNING


def test_results_on_other_images_altogether_are_refused(results, tmp_path):
    prompter = results(entry(2, category_id=1), categories=annotations(tmp_path, dict(id=1)))
    with pytest.raises(ValueError, match='1 of the 1 images .* give the results on the same'):
        prompter([sample(1)])


def test_file_that_fits_no_image_for_long_is_told_once(results, log):
    prompter = results(entry('a.jpg'))
    prompter([sample(i, f'val/{i}.jpg') for i in range(19)])
    assert not log
    prompter([sample(i, f'val/{i}.jpg') for i in range(19, 60)])
    ((message, _),) = log
    assert "none of the first 20 images: it knows images such as ['a.jpg']" in message
    other = results(entry('3'))
    other([sample(i, f'val/{i}.jpg') for i in range(60)])
    assert len(log) == 1


def test_file_is_read_at_first_use_and_once(tmp_path):
    path = tmp_path / 'results.json'
    prompter = FilePrompter(path)
    with pytest.raises(FileNotFoundError, match='no results file .*results.json'):
        prompter([sample(1)])
    path.write_text(json.dumps([entry()]))
    assert len(prompter([sample(1)])[0]) == 1
    path.unlink()
    assert len(prompter([sample(1)])[0]) == 1


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(file='results.bin'), 'must be a .json file in the layout of COCO, got results.bin'),
        (dict(file='r.pkl'), r'r.pkl is a pickle.*test_evaluator.outfile_prefix=.*bbox\.json'),
        (dict(file='r.json', classes=['a']), 'do not say which category_id of r.json is which'),
        (dict(file='r.json', classes=[], categories=CATEGORIES), 'classes must be names'),
    ],
)
def test_bad_argument_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        FilePrompter(**arguments)


@pytest.mark.parametrize(
    ('categories', 'message'),
    [
        ([dict(name='cat')], "categories must be a list of dict.*KeyError: 'id'"),
        ([dict(id=1, name='a'), dict(id='b', name='b')], 'categories must be a list .*TypeError'),
        ('{', 'annotations.json is truncated or not JSON'),
        ('[]', 'annotations.json has no categories'),
    ],
)
def test_wrong_categories_are_refused(results, tmp_path, categories, message):
    if isinstance(categories, str):
        (tmp_path / 'annotations.json').write_text(categories)
        categories = tmp_path / 'annotations.json'
    with pytest.raises(ValueError, match=message):
        results(entry(category_id=1), categories=categories)([sample(1)])


def test_missing_annotation_file_is_named(results):
    with pytest.raises(FileNotFoundError, match=r'no annotation file absent\.json'):
        results(entry(category_id=1), categories='absent.json')([sample(1)])


def test_image_without_id_and_path_is_refused(results):
    with pytest.raises(ValueError, match='needs img_id or img_path'):
        results(entry())([DetDataSample()])
