"""One user's work: prompts, undo, the list, files."""

import io
import json

import numpy as np
import pytest
import tiny
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from mmovsam.web import Prompt, Session


@pytest.fixture
def opened(session, picture):
    session.open(picture, 'folder/cat.png')
    return session


@pytest.fixture
def num_encoded(predictor, monkeypatch):
    """How many pictures were encoded."""
    calls = []
    extract_feat = predictor.model.extract_feat
    monkeypatch.setattr(
        predictor.model, 'extract_feat', lambda inputs: calls.append(1) or extract_feat(inputs)
    )
    return lambda: len(calls)


def state(session):
    mask = None if session.answer is None else session.answer.mask.copy()
    return session.prompt, [(t.number, t.name) for t in session.objects], mask


def same(one, other):
    return one[:2] == other[:2] and np.array_equal(one[2], other[2])


# Prompts


def test_clicks_and_boxes_ask_what_a_predictor_is_asked(opened, predictor, picture):
    twin = predictor.fork()
    twin.set_image(picture)
    for do, prompt in (
        (lambda: opened.click(20, 30), dict(point_coords=[[20, 30]], point_labels=[1])),
        (
            lambda: opened.click(60, 10, foreground=False),
            dict(point_coords=[[20, 30], [60, 10]], point_labels=[1, 0]),
        ),
        (lambda: opened.drag(70, 50, 10, 12), dict(box=[10, 12, 70, 50])),
        (
            lambda: opened.click(20, 30),
            dict(box=[10, 12, 70, 50], point_coords=[[20, 30]], point_labels=[1]),
        ),
    ):
        do()
        expected = twin.predict(**prompt, multimask_output=False)
        assert np.array_equal(opened.answer.mask, expected.masks[0])
        assert opened.answer.names == tuple(expected.names[0]) and len(opened.answer.names) == 5
        assert opened.answer.name_scores == tuple(expected.name_scores[0].tolist())
        assert opened.answer.quality == expected.scores[0]


def test_two_corners_make_a_box(opened):
    opened.click(20, 30)
    before = opened.answer
    opened.click_corner(70, 50)
    assert opened.prompt.corner == (70, 50) and np.array_equal(opened.answer.mask, before.mask)
    opened.click_corner(10, 12)
    assert opened.prompt == Prompt(box=(10, 12, 70, 50))


@pytest.mark.parametrize(
    'do, message',
    [
        (lambda s: s.click(90, 5), r'\[90\.0, 5\.0\] is not inside the image of 80x60'),
        (lambda s: s.click(float('nan'), 5), 'is not inside the image'),
        (lambda s: s.drag(5, 5, 5, 20), 'is empty, inverted or not finite'),
        (lambda s: s.rename(99, 'cat'), 'no object 99 on the list'),
        (lambda s: s.remove('x'), "no object 'x' on the list"),
        (lambda s: s.set_names([',']), "class name ',' is empty"),
    ],
)
def test_what_is_refused_changes_nothing(opened, do, message):
    opened.click(20, 30)
    opened.add('plum')
    opened.click(20, 30)
    before, names = state(opened), opened.names
    with pytest.raises(ValueError, match=message):
        do(opened)
    assert same(state(opened), before) and opened.names == names
    opened.undo()
    assert not opened.prompt.points


@pytest.mark.parametrize(
    'do',
    [
        lambda s: s.click(1, 1),
        lambda s: s.drag(1, 1, 5, 5),
        lambda s: s.click_corner(1, 1),
        lambda s: s.add_everything(),
    ],
)
def test_without_a_picture_one_is_asked_for(session, do):
    with pytest.raises(ValueError, match='no picture: open one'):
        do(session)


def test_undo_goes_back_through_clicks_and_changes_of_the_list(opened):
    steps = [
        lambda: opened.click(20, 30),
        lambda: opened.click(40, 30, foreground=False),
        lambda: opened.add('plum'),
        lambda: opened.click_corner(5, 5),
        lambda: opened.click_corner(50, 50),
        lambda: opened.rename(1, 'pear'),
        lambda: opened.clear(),
        lambda: opened.remove(1),
    ]
    before = []
    for do in steps:
        before.append(state(opened))
        do()
    while before:
        opened.undo()
        assert same(state(opened), before.pop())
    with pytest.raises(ValueError, match='nothing to undo'):
        opened.undo()


def test_a_new_picture_starts_from_nothing(opened, picture):
    opened.click(20, 30)
    opened.add('plum')
    opened.open(picture[:, ::-1].copy(), 'dog.png')
    assert opened.prompt == Prompt() and not opened.objects and opened.answer is None
    with pytest.raises(ValueError, match='nothing to undo'):
        opened.undo()


# Names


def test_names_change_without_encoding_the_picture_again(opened, num_encoded):
    opened.click(20, 30)
    mask = opened.answer.mask
    opened.set_names(['plum', 'cat'])
    assert set(opened.answer.names) == {'plum', 'cat'} == set(opened.names)
    assert np.array_equal(opened.answer.mask, mask)
    opened.set_names([])
    assert opened.names == tiny.NAMES and len(opened.answer.names) == 5
    assert num_encoded() == 0


def test_a_model_without_names_of_its_own_asks_for_some(predictor, name_encoder, monkeypatch):
    monkeypatch.setattr(name_encoder, 'own', None)
    with pytest.raises(ValueError, match='no names of its own: give at least one'):
        Session(predictor.fork(), name_encoder).set_names([])


def test_sessions_do_not_see_each_other(predictor, name_encoder, picture):
    ann, bob = (Session(predictor.fork(), name_encoder) for _ in range(2))
    ann.open(picture, 'ann.png')
    ann.click(20, 30)
    mask = ann.answer.mask
    bob.open(picture[::-1].copy(), 'bob.png')
    bob.set_names(['plum'])
    bob.click(20, 30)
    bob.add()
    assert ann.names == tiny.NAMES and not ann.objects
    ann.clear()
    ann.click(20, 30)
    assert np.array_equal(ann.answer.mask, mask) and 'plum' not in ann.answer.names


# The list


def test_an_object_has_the_best_name_or_the_one_it_is_given(opened):
    opened.click(20, 30)
    best, second = opened.answer.names[:2]
    scores = opened.answer.name_scores
    mask = opened.answer.mask
    opened.add(' ')
    assert opened.answer is None and opened.prompt == Prompt()
    for name in (second, '  my own\tname '):
        opened.click(20, 30)
        opened.add(name)
    assert [thing.name for thing in opened.objects] == [best, second, 'my own name']
    assert [thing.score for thing in opened.objects] == [scores[0], scores[1], 1]
    assert [thing.number for thing in opened.objects] == [1, 2, 3]
    assert np.array_equal(coco_mask.decode(opened.objects[0].segmentation), mask)
    opened.rename(3, second)
    assert opened.objects[2].score == scores[1]


def test_no_mask_makes_no_object(opened, monkeypatch):
    with pytest.raises(ValueError, match='no mask to add'):
        opened.add('plum')
    opened.click(20, 30)
    opened.answer.mask[:] = False
    with pytest.raises(ValueError, match='no mask to add'):
        opened.add('plum')


def test_everything_comes_to_the_list_but_what_is_there(opened, monkeypatch):
    masks = np.zeros((3, 60, 80), bool)
    masks[0, :20, :20] = masks[1, 30:50, 30:70] = masks[2, 30:50, 31:70] = True
    encoded = coco_mask.encode(np.asfortranarray(masks.transpose(1, 2, 0), np.uint8))
    found = [
        dict(
            segmentation=dict(rle, counts=rle['counts'].decode()),
            names=['cat', 'dog'],
            name_scores=[0.75, 0.25],
        )
        for rle in encoded
    ]
    monkeypatch.setattr(opened.predictor, 'segment_everything', lambda top_k: found[:2])
    assert opened.add_everything() == 2
    assert [(t.name, t.score, t.bbox) for t in opened.objects] == [
        ('cat', 0.75, [0, 0, 20, 20]),
        ('cat', 0.75, [30, 30, 40, 20]),
    ]
    monkeypatch.setattr(opened.predictor, 'segment_everything', lambda top_k: found)
    assert opened.add_everything() == 0
    opened.undo()
    assert not opened.objects


def test_what_is_looked_for_comes_to_the_list_by_its_name(opened, num_encoded):
    predictor = opened.predictor
    predictor.everything = dict(quality_thr=0, stability_thr=0)
    find = predictor.find
    predictor.find = lambda *args, **kw: find(*args, score_thr=0, **kw)  # of a random model
    count = opened.find(', '.join(tiny.NAMES[:5]))
    assert count == len(opened.objects) > 0
    assert {thing.name for thing in opened.objects} <= set(tiny.NAMES[:5])
    assert opened.find(', '.join(tiny.NAMES[:5])) == 0  # they are there
    assert num_encoded() == 0
    with pytest.raises(ValueError, match='no name: give at least one'):
        opened.find(' , ')
    opened.undo()
    assert not opened.objects


# Files


def test_coco_json_has_masks_names_and_categories(opened, tmp_path):
    opened.click(20, 30)
    mask, best = opened.answer.mask, opened.answer.names[0]
    opened.add()
    opened.drag(10, 12, 70, 50)
    opened.add('Käse')
    (tmp_path / 'objects.json').write_bytes(opened.to_coco())
    coco = COCO(str(tmp_path / 'objects.json'))
    (image,) = coco.loadImgs(coco.getImgIds())
    assert (image['file_name'], image['width'], image['height']) == ('cat.png', 80, 60)
    names = [category['name'] for category in coco.loadCats(coco.getCatIds())]
    assert names == [*tiny.NAMES, 'Käse']
    one, other = coco.loadAnns(coco.getAnnIds())
    assert np.array_equal(coco.annToMask(one), mask) and one['area'] == mask.sum()
    assert coco.cats[one['category_id']]['name'] == best == one['top_k'][0]['name']
    assert one['score'] == pytest.approx(opened.objects[0].score, abs=1e-5)
    assert coco.cats[other['category_id']]['name'] == 'Käse' and other['score'] == 1


def test_picture_shows_the_objects(opened, picture):
    opened.click(20, 30)
    opened.add()
    drawn = np.asarray(Image.open(io.BytesIO(opened.to_jpeg())))
    assert drawn.shape[0] % 60 == 0 and drawn.shape[1] / drawn.shape[0] == 80 / 60
    factor = len(drawn) // 60
    plain = picture.repeat(factor, 0).repeat(factor, 1)
    assert np.abs(drawn.astype(int) - plain).mean() > 5


@pytest.mark.parametrize('export', [Session.to_coco, Session.to_jpeg])
def test_an_empty_list_makes_no_file(opened, export):
    with pytest.raises(ValueError, match='list is empty: add an object'):
        export(opened)


def test_models_that_only_segment_leave_the_names_to_people(picture, name_encoder):
    from mmdet.registry import MODELS

    from mmovsam.apis import OVSAMPredictor

    session = Session(OVSAMPredictor(MODELS.build(tiny.SAM)), name_encoder)
    session.open(picture, 'cat.png')
    session.click(20, 30)
    assert session.answer.names == ()
    session.add()
    session.click(60, 20)
    session.add('cat')
    names = [category['name'] for category in json.loads(session.to_coco())['categories']]
    assert names == ['object', 'cat']
