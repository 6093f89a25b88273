"""One user's work: prompts, undo, the list, files; and the sessions of all users."""

import io
import json

import numpy as np
import pytest
import tiny
from mmdet.registry import MODELS
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from mmovsam.apis import OVSAMPredictor
from mmovsam.web import Prompt, Session, SessionStore
from mmovsam.web.project import LabeledPicture
from mmovsam.web.session_store import RESTING


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
    mask = None if session.answer is None else session.answer.mask.tolist()
    return session.prompt, [(t.number, t.name) for t in session.objects], mask, session.names


def test_clicks_and_boxes_ask_what_a_predictor_is_asked(opened, predictor, picture):
    twin = predictor.fork()
    twin.set_image(picture)
    point, box = dict(point_coords=[[20, 30]], point_labels=[1]), dict(box=[10, 12, 70, 50])
    for do, prompt in (
        (lambda: opened.click(20, 30), point),
        (
            lambda: opened.click(60, 10, foreground=False),
            dict(point_coords=[[20, 30], [60, 10]], point_labels=[1, 0]),
        ),
        (lambda: opened.drag(70, 50, 10, 12), box),
        (lambda: opened.click(20, 30), dict(point, **box)),
    ):
        do()
        expected = twin.predict(**prompt, multimask_output=False)
        assert np.array_equal(opened.answer.mask, expected.masks[0])
        assert opened.answer.names == tuple(expected.names[0]) and len(opened.answer.names) == 5
        assert opened.answer.name_scores == tuple(expected.name_scores[0].tolist())
        assert opened.answer.quality == expected.scores[0]
    opened.click_corner(70, 50)  # the first corner of a box changes nothing yet
    assert opened.prompt.corner == (70, 50)
    assert np.array_equal(opened.answer.mask, expected.masks[0])
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
    before = state(opened)
    with pytest.raises(ValueError, match=message):
        do(opened)
    assert state(opened) == before
    opened.undo()
    assert not opened.prompt.points


def test_without_a_picture_one_is_asked_for(session):
    for do in (
        lambda: session.click(1, 1),
        lambda: session.drag(1, 1, 5, 5),
        lambda: session.click_corner(1, 1),
        session.add_everything,
    ):
        with pytest.raises(ValueError, match='no picture: open one'):
            do()


def test_undo_goes_back_through_all_changes_until_a_new_picture_starts_from_nothing(
    opened, picture
):
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
        assert state(opened) == before.pop()
    opened.click(20, 30)
    opened.add('plum')
    opened.open(picture[:, ::-1].copy(), 'dog.png')
    assert opened.prompt == Prompt() and not opened.objects and opened.answer is None
    with pytest.raises(ValueError, match='nothing to undo'):
        opened.undo()


def test_names_change_without_encoding_the_picture_again(opened, num_encoded, monkeypatch):
    opened.click(20, 30)
    mask = opened.answer.mask
    opened.set_names(['plum', 'cat'])
    assert set(opened.answer.names) == {'plum', 'cat'} == set(opened.names)
    assert np.array_equal(opened.answer.mask, mask)
    opened.set_names([])
    assert opened.names == tiny.NAMES and len(opened.answer.names) == 5
    assert num_encoded() == 0
    monkeypatch.setattr(opened.name_encoder, 'own', None)
    with pytest.raises(ValueError, match='no names of its own: give at least one'):
        opened.set_names([])


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


def test_an_object_has_the_best_name_or_the_one_it_is_given(opened):
    with pytest.raises(ValueError, match='no mask to add'):
        opened.add('plum')
    opened.click(20, 30)
    (best, second), scores = opened.answer.names[:2], opened.answer.name_scores
    mask = opened.answer.mask.copy()
    opened.add(' ')
    assert opened.answer is None and opened.prompt == Prompt()
    for name in (second, '  my own\tname '):
        opened.click(20, 30)
        opened.add(name)
    assert [(t.number, t.name, t.score) for t in opened.objects] == [
        (1, best, scores[0]),
        (2, second, scores[1]),
        (3, 'my own name', 1),
    ]
    assert np.array_equal(coco_mask.decode(opened.objects[0].segmentation), mask)
    opened.rename(3, second)
    assert opened.objects[2].score == scores[1]
    opened.click(20, 30)
    opened.answer.mask[:] = False
    with pytest.raises(ValueError, match='no mask to add'):
        opened.add('plum')


def test_everything_comes_to_the_list_but_what_is_there(opened, monkeypatch):
    masks = np.zeros((3, 60, 80), bool)
    masks[0, :20, :20] = masks[1, 30:50, 30:70] = masks[2, 30:50, 31:70] = True
    encoded = coco_mask.encode(np.asfortranarray(masks.transpose(1, 2, 0), np.uint8))
    names = dict(names=['cat', 'dog'], name_scores=[0.75, 0.25])
    found = [dict(names, segmentation=dict(r, counts=r['counts'].decode())) for r in encoded]
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


def test_a_picture_that_rests_is_read_and_encoded_again(opened, num_encoded, picture):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, 'PNG')
    opened.open(picture, 'cat.png', file.getvalue())
    opened.click(20, 30)
    opened.add('plum')
    opened.click(20, 30)
    before, drawn = state(opened), opened.to_jpeg()
    opened.rest()
    assert not opened.predictor.is_image_set and state(opened) == before
    assert opened.to_jpeg() == drawn and not opened.predictor.is_image_set
    opened.undo()
    opened.click(20, 30)
    assert opened.predictor.is_image_set and state(opened) == before
    assert np.array_equal(opened.image, picture)


def test_objects_that_were_kept_come_back_to_their_picture(opened, picture):
    opened.restore(None)
    opened.click(20, 30)
    opened.add()
    opened.drag(10, 12, 70, 50)
    opened.add('Käse')
    coco, kept = opened.to_coco(), opened.labeled().to_json()
    opened.open(picture[:, ::-1].copy(), 'dog.png')
    with pytest.raises(ValueError, match=r'of another picture, cat\.png: open it'):
        opened.restore(LabeledPicture.from_json(kept))
    assert not opened.objects and not opened.restored
    opened.open(picture, 'cat.png')
    opened.click(60, 20)
    opened.add('early')
    opened.restore(LabeledPicture.from_json(kept))
    assert [thing.name for thing in opened.objects][1:] == ['Käse', 'early']
    assert len({thing.number for thing in opened.objects}) == 3
    opened.restore(LabeledPicture.from_json(kept))  # another tab has it otherwise
    assert opened.to_coco() == coco and opened.labeled().to_json() == kept
    opened.undo()
    assert len(opened.objects) == 3
    opened.remove_all()
    opened.undo()
    assert len(opened.objects) == 3


# Files


def test_coco_json_has_masks_names_and_categories_and_the_picture_shows_them(
    opened, picture, tmp_path
):
    for export in (opened.to_coco, opened.to_jpeg):
        with pytest.raises(ValueError, match='list is empty: add an object'):
            export()
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
    drawn = np.asarray(Image.open(io.BytesIO(opened.to_jpeg())))
    factor = len(drawn) // 60
    assert drawn.shape[:2] == (60 * factor, 80 * factor)
    assert np.abs(drawn.astype(int) - picture.repeat(factor, 0).repeat(factor, 1)).mean() > 5


def test_models_that_only_segment_leave_the_names_to_people(picture, name_encoder):
    session = Session(OVSAMPredictor(MODELS.build(tiny.SAM)), name_encoder)
    session.open(picture, 'cat.png')
    session.click(20, 30)
    assert session.answer.names == ()
    session.add()
    session.click(60, 20)
    session.add('cat')
    names = [category['name'] for category in json.loads(session.to_coco())['categories']]
    assert names == ['object', 'cat']


# The sessions of all users


class Visits(list):
    """In place of a session."""

    def rest(self):
        self.append('rest')


def test_sessions_are_ones_own_and_rest_before_they_are_forgotten():
    now = [0.0]
    store = SessionStore(Visits, max_sessions=1, forget_after=60, clock=lambda: now[0])
    for user in ('ann', 'bob', 'ann'):
        store.get(user).append(user)
    assert store.get('ann') == ['ann', 'rest', 'ann']  # it rested while bob came
    for user in range(RESTING):
        store.get(f'user {user}')
    assert len(store) == 1 + RESTING
    assert store.get('ann')[-1] == 'rest'
    assert store.get('bob') == []  # it was not used for longest
    store.leave('ann')
    store.leave('nobody')
    assert store.get('ann')[0] == 'ann'  # who seems to have left may come back
    store.leave('ann')
    store.get('cid')
    assert store.get('ann') == []
    now[0] = 50
    store.get('cid').append('cid')
    now[0] = 70
    assert 'cid' in store.get('cid') and len(store) == 1
    now[0] = 200
    store.drop_idle()
    assert len(store) == 0


def test_keys_and_limits_that_make_no_session_are_refused():
    with pytest.raises(ValueError, match='key that is its own'):
        SessionStore(list).get(None)
    for limits in (dict(max_sessions=0), dict(forget_after=0)):
        with pytest.raises(ValueError, match='at least 1 and forget_after above 0'):
            SessionStore(list, **limits)
