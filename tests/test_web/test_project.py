"""Kept objects and project files: what comes back is checked, and used whole or not at all."""

import json
import secrets

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mmovsam.web import LabeledObject
from mmovsam.web.project import LabeledPicture, content_key, read_project, write_project

SHAPE = (60, 80)


def labeled(mask, name='plum', file_name='cat.png'):
    counts = coco_mask.encode(np.asfortranarray(mask, np.uint8))['counts'].decode()
    segmentation = dict(size=list(mask.shape), counts=counts)
    thing = LabeledObject(1, name, ('plum', 'cat'), (0.75, 0.25), segmentation)
    key = content_key(np.zeros((*mask.shape, 3), np.uint8), file_name.encode())
    return LabeledPicture(key, file_name, mask.shape, (thing,))


@pytest.fixture
def square():
    mask = np.zeros(SHAPE, bool)
    mask[10:30, 20:50] = True
    return mask


def test_pictures_are_known_by_their_file_or_by_shape_and_pixels(picture):
    keys = [content_key(picture), content_key(picture[:, ::-1]), content_key(picture, b'file')]
    assert len({*keys, content_key(picture.reshape(80, 60, 3))}) == 4
    assert content_key(picture.copy()) == keys[0]


def test_masks_of_all_kinds_come_back_as_they_were():
    seed = secrets.randbits(32)
    print('seed', seed)
    rng = np.random.default_rng(seed)
    for _ in range(300):
        shape = tuple(rng.integers(1, 70, 2).tolist())
        mask = rng.random(shape) < rng.choice([0.001, 0.1, 0.5, 1])
        mask[rng.integers(shape[0]), rng.integers(shape[1])] = True
        kept = labeled(mask)
        again = LabeledPicture.from_json(kept.to_json())
        assert again.to_json() == kept.to_json() and again.shape == shape
        assert np.array_equal(coco_mask.decode(again.objects[0].segmentation), mask)
    large = np.zeros((3000, 5000), bool)
    large[-1, -1] = True
    assert LabeledPicture.from_json(labeled(large).to_json()).objects[0].bbox == [4999, 2999, 1, 1]


def test_run_lengths_that_are_damaged_make_a_mask_of_the_size_or_are_refused(square):
    seed = secrets.randbits(32)
    print('seed', seed)
    rng = np.random.default_rng(seed)
    record = labeled(square | (rng.random(SHAPE) < 0.1)).as_record()
    whole = record['objects'][0]['counts']
    refused = 0
    for _ in range(2000):
        counts = list(whole)
        at = rng.integers(len(counts))
        counts[at : at + rng.integers(3)] = [chr(rng.integers(40, 120)) for _ in range(2)]
        record['objects'][0]['counts'] = ''.join(counts)
        try:
            (thing,) = LabeledPicture.from_record(record).objects
        except ValueError as error:
            assert 'object 1: ' in str(error)
            refused += 1
        else:
            assert coco_mask.decode(thing.segmentation).any()
    assert refused > 1000


def edited(picture, path, value):
    record = picture.as_record()
    *parents, last = path
    place = record
    for step in parents:
        place = place[step]
    place[last] = value
    return record


FIRST = ('objects', 0)


@pytest.mark.parametrize(
    'path, value, message',
    [
        (('key',), '../../etc/passwd', 'is no SHA-256'),
        (('key',), 'A' * 64, 'is no SHA-256'),
        (('file_name',), ' ', 'a name is blank'),
        (('width',), 0, '0x60 is no size'),
        (('width',), 2**40, 'is no size'),
        (('width',), True, 'width is missing or wrong: True'),
        (('width',), 81, 'no mask of 81x60'),
        (('objects',), {}, 'objects is missing or wrong'),
        (FIRST, None, 'object 1: top_k is missing'),
        ((*FIRST, 'name'), '\t', 'a name is blank'),
        ((*FIRST, 'name'), '\ud800', 'is no text'),
        ((*FIRST, 'name'), ['plum'], 'name is missing or wrong'),
        ((*FIRST, 'top_k', 0, 'score'), 1.5, 'scores are from 0 to 1'),
        ((*FIRST, 'top_k', 0, 'score'), float('nan'), 'scores are from 0 to 1'),
        ((*FIRST, 'top_k', 0, 'score'), '1', 'score is missing or wrong'),
        ((*FIRST, 'counts'), '', 'are no run lengths'),
        ((*FIRST, 'counts'), 'é', 'are no run lengths'),
        ((*FIRST, 'counts'), 'oooooooooooo0', 'too large'),
        ((*FIRST, 'counts'), 'PP2', 'no mask of 80x60'),
        ((*FIRST, 'counts'), '`f4', 'no mask of 80x60'),
        ((*FIRST, 'counts'), [1, 2], 'counts is missing or wrong'),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_read(square, path, value, message):
    picture = labeled(square)
    text = json.dumps(dict(format='mmovsam project', version=1, pictures=[
        labeled(square, file_name='dog.png').as_record(), edited(picture, path, value)
    ]))  # fmt: skip
    with pytest.raises(ValueError, match=message) as caught:
        read_project(text, 'my.json')
    said = str(caught.value)
    assert said.startswith('my.json was not opened: picture 2') and 'Nothing was changed' in said


def test_a_project_is_read_whole_or_not_at_all(square):
    pictures = [labeled(square, 'Käse'), labeled(~square, file_name='dog.png')]
    text = write_project(pictures).decode()
    assert [each.to_json() for each in read_project(text)] == [each.to_json() for each in pictures]
    assert read_project(write_project([]).decode()) == []
    for wrong, message in (
        (text[: len(text) // 2], 'cut off or no JSON'),
        ('[' * 100_000, 'cut off or no JSON'),
        ('{"images": []}', 'was not saved by "Save project"'),
        (text.replace('"version": 1', '"version": 2'), 'its version is 2'),
        (write_project([pictures[0]] * 2).decode(), 'picture 2 is there twice'),
    ):
        with pytest.raises(ValueError, match=message):
            read_project(wrong)


def test_folders_of_file_names_are_left_out(square):
    record = edited(labeled(square), ('file_name',), '../../home/cat.png')
    assert LabeledPicture.from_record(record).file_name == 'cat.png'
