"""Sessions, images, prompts and names over HTTP, in this process."""

import re
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tiny
from pycocotools import mask as coco_mask
from rest_client import HEIGHT, WIDTH, User, png
from small_world import rle

from mmovsam.apis.image_input import read_image

BOX = [10, 12, 50, 40]
POINT = dict(point_coords=[[30, 20]], point_labels=[1])
EVERYTHING = dict(points_per_side=3, quality_thr=0, stability_thr=0, min_area=1)


@pytest.fixture
def alone(predictor):
    """A predictor with the same picture."""
    fork = predictor.fork()
    fork.set_image(read_image(png()), 'BGR')
    return fork


def test_prompts_get_what_the_predictor_says(user, alone):
    prompts = [dict(box=BOX), POINT, dict(box=BOX, **POINT)]
    status, answer = user.post('/prompt', prompts=prompts, top_k=2)
    expected = alone.predict_batch(prompts, top_k=2, mask_format='rle')
    assert status == 200 and [thing['prompt'] for thing in answer['objects']] == [0, 1, 2]
    assert [thing['segmentation'] for thing in answer['objects']] == expected.masks
    assert [thing['names'] for thing in answer['objects']] == expected.names
    first = answer['objects'][0]
    assert first['name'] == first['names'][0] and first['score'] == first['name_scores'][0]
    assert first['area'] == coco_mask.area(first['segmentation'])
    _, answer = user.post('/prompt', prompts=prompts, multimask_output=True)
    assert [thing['prompt'] for thing in answer['objects']] == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_polygons_are_the_masks(user):
    exact, drawn = (
        user.post('/prompt', prompts=[dict(box=BOX)], mask_format=form)[1]['objects'][0]
        for form in ('rle', 'polygons')
    )
    again = coco_mask.merge(coco_mask.frPyObjects(drawn['segmentation'], HEIGHT, WIDTH))
    assert coco_mask.iou([again], [exact['segmentation']], [0])[0, 0] > 0.8


def test_a_mask_is_refined(user, alone):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[12:40, 10:50] = True
    given = rle(mask)
    _, answer = user.post('/prompt', prompts=[dict(mask=given, **POINT)])
    expected = alone.predict_batch([dict(mask_input=alone.mask_input(mask), **POINT)])
    decoded = coco_mask.decode(answer['objects'][0]['segmentation']).astype(bool)
    np.testing.assert_array_equal(decoded, expected.masks[0])
    for wrong in (dict(given, size=[9, 9]), dict(given, counts='0'), dict(given, counts='\u00e4')):
        status, answer = user.post('/prompt', prompts=[POINT, dict(mask=wrong)])
        assert status == 400 and answer['error'].startswith('Prompt 1: ')


def test_names_are_of_a_session(client, user):
    own, names = (200, dict(names=list(tiny.NAMES))), ['espresso', 'a red saucer']
    assert user.send('GET', '/vocabulary') == own
    assert user.send('PUT', '/vocabulary', json=dict(names=names)) == (200, dict(names=names))
    _, answer = user.post('/prompt', prompts=[POINT])
    assert set(answer['objects'][0]['names']) == set(names)
    assert User(client).send('GET', '/vocabulary') == own
    assert user.send('PUT', '/vocabulary', json=dict(names=[])) == own


def test_prompts_are_answered_while_names_are_read(serve, monkeypatch):
    served, client = serve()
    user = User(client)
    user.image(png())
    reading, go_on = threading.Event(), threading.Event()

    def read(names):
        reading.set()
        assert go_on.wait(30)
        return served.name_encoder.vocabulary

    monkeypatch.setattr(served.name_encoder, 'classifier', read)
    with ThreadPoolExecutor() as pool:
        named = pool.submit(user.send, 'PUT', '/vocabulary', json=dict(names=['dog']))
        assert reading.wait(30)
        assert user.post('/prompt', prompts=[POINT])[0] == 200
        assert not named.done()
        go_on.set()
    assert named.result() == (200, dict(names=list(tiny.NAMES)))


def test_objects_are_found_by_name_and_without(user, alone):
    status, answer = user.post('/everything', **EVERYTHING)
    expected = alone.segment_everything(**EVERYTHING)
    assert status == 200 and len(answer['objects']) == len(expected) > 0
    assert [each['bbox'] for each in answer['objects']] == [each['bbox'] for each in expected]
    name = answer['objects'][0]['name']
    status, answer = user.post('/find', names=[name], bboxes=[BOX], score_thr=0, background=[])
    assert status == 200 and [thing['name'] for thing in answer['objects']] == [name]
    assert user.post('/find', names=['nothing like it', name], score_thr=1)[0] == 200


def test_nobody_sees_anothers_picture(client, user):
    prompts = dict(prompts=[dict(box=BOX)])
    first = user.post('/prompt', **prompts)[1]
    other = User(client)
    assert other.post('/prompt', **prompts)[0] == 409
    other.image(png(seed=1))
    assert other.post('/prompt', **prompts)[1] != first
    assert user.post('/prompt', **prompts)[1] == first
    assert other.send('DELETE', '/sessions')[0] == 204
    assert other.post('/prompt', **prompts)[0] == 401
    assert user.post('/prompt', **prompts)[1] == first


@pytest.mark.parametrize(
    'path, request_, status, message',
    [
        ('/prompt', dict(prompts=[dict(box=[90, 5, 99, 9])]), 400, 'Prompt 0: Box .* outside'),
        ('/prompt', dict(prompts=[dict(box=[9, 9, 9])]), 422, r'prompts.0.box: .*got \[9, 9, 9\]'),
        ('/prompt', dict(prompts=[{}]), 400, 'Prompt 0: A prompt needs'),
        ('/prompt', dict(prompts=[]), 422, 'prompts: .*at least 1'),
        ('/prompt', dict(prompts=[POINT], topk=3), 422, 'topk: Extra inputs'),
        ('/prompt', dict(prompts=[POINT], top_k='3'), 422, "top_k: .*got '3'"),
        ('/prompt', [], 422, 'The request: .*dictionary'),
        ('/find', dict(names=['']), 422, 'names.0: .*at least 1 character'),
        ('/find', dict(names=[' ']), 400, 'empty'),
        ('/find', dict(names=['a'], bboxes=[BOX], points_per_side=2), 400, 'give either'),
        ('/everything', dict(nms_iou=1.5), 422, 'nms_iou: .*less than or equal to 1, got 1.5'),
    ],
)
def test_bad_request_is_told_in_a_sentence(user, path, request_, status, message):
    found, answer = user.send('POST', path, json=request_)
    assert found == status and re.search(message, answer['error']), answer


@pytest.mark.parametrize(
    'method, path, content, message',
    [
        ('POST', '/prompt', b'{"prompts": [{"box": [NaN, 1, 2, 3]}]}', ''),
        *(('POST', '/prompt', content, '') for content in (b'[' * 100_000, b'{', b'\xff', b'')),
        ('PUT', '/vocabulary', b'{"names": ["\\ud800"]}', 'names.0'),
    ],
)
def test_what_is_no_json_is_refused(user, method, path, content, message):
    headers = {**user.headers, 'Content-Type': 'application/json'}
    answer = user.client.request(method, path, content=content, headers=headers)
    assert answer.status_code in (400, 422) and message in answer.json()['error'] != ''


def test_bad_images_are_refused_and_the_old_one_stays(user):
    before = user.post('/prompt', prompts=[POINT])
    for data, status, message in [
        (b'', 400, 'truncated or no image'),
        (png()[:500], 400, 'truncated'),
        (png(shape=(101, 100, 3)), 400, '100x101 pixels; the limit here is 0.01 million'),
        (bytes(40_001), 413, 'PUT|/image has 0.0381'),
    ]:
        found, answer = user.image(data)
        assert found == status and message.split('|')[-1] in answer['error'], answer
    assert user.post('/prompt', prompts=[POINT]) == before


def test_password_opens_sessions_and_nothing_else_does(serve):
    _, client = serve(password='plum')
    for given in (None, {}, dict(password='fig'), dict(password=None)):
        answer = client.post('/sessions', json=given)
        assert answer.status_code == 401 and 'password' in answer.json()['error']
    assert User(client, password='plum').image(png())[0] == 200
    for token in ('', 'plum', 'null'):
        headers = dict(Authorization=f'Bearer {token}')
        assert client.get('/vocabulary', headers=headers).status_code == 401
    assert client.get('/health').json()['status'] == 'UP'
    with pytest.raises(ValueError, match='password is empty'):
        serve(password='')


def test_unknown_route_and_method_are_told_and_the_description_has_examples(client):
    for method, path, status in [('GET', '/nowhere', 404), ('GET', '/prompt', 405)]:
        answer = client.request(method, path)
        assert answer.status_code == status and f'{method} {path}' in answer.json()['error']
    assert client.options('/vocabulary').headers['Allow'] == 'GET, PUT'
    description = client.get('/openapi.json').json()
    paths = {'/sessions', '/image', '/prompt', '/vocabulary', '/find', '/everything'}
    assert paths <= set(description['paths'])
    schemas = description['components']['schemas']
    assert schemas['PromptRequest']['examples'] and 'RunLengths' in schemas
    assert client.get('/docs').status_code == 404  # it would fetch scripts from elsewhere


def test_errors_of_the_server_are_not_told_to_clients(user, monkeypatch):
    monkeypatch.setattr('mmovsam.server.answers.prompt', lambda *_: dict()['secret'])
    status, answer = user.post('/prompt', prompts=[POINT])
    assert status == 500 and 'secret' not in str(answer)
