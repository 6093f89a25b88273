"""What X-AnyLabeling's Remote-Server model asks, and what it reads of the answers."""

import base64

import numpy as np
import pytest
import tiny
from rest_client import HEIGHT, MAX_FILE_SIZE, WIDTH, png

from mmovsam.apis.image_input import read_image

IMAGE = 'data:image/png;base64,' + base64.b64encode(png()).decode()
BOX = dict(type='rectangle', data=[50, 12, 10, 40], label=1)
POINT = dict(type='point', data=[30, 20], label=1)
NOT = dict(type='point', data=[70, 50], label=0)


def predict(client, image=IMAGE, token='', **params):
    """As its client sends it."""
    params = dict(conf_threshold=0.0, iou_threshold=0.0, epsilon_factor=0.001, **params)
    payload = dict(model='mmovsam', image=image, params=params)
    answer = client.post('/v1/predict', json=payload, headers=dict(Token=token))
    return answer.status_code, answer.json()


def test_one_model_with_three_tasks_is_offered(client):
    answer = client.get('/v1/models', headers=dict(Token='')).json()
    (model,) = answer['data'].values()
    assert [task['id'] for task in model['available_tasks']] == ['click', 'find', 'everything']
    assert all(task['active_widgets'] for task in model['available_tasks'])


def test_points_and_rectangles_become_the_object_in_work(client, predictor):
    fork = predictor.fork()
    fork.set_image(read_image(png()), 'BGR')
    point = dict(point_coords=[[30, 20], [70, 50]], point_labels=[1, 0])
    box = dict(box=[10, 12, 50, 40])
    for marks, prompt in (([POINT, NOT], point), ([BOX], box), ([NOT, BOX], None)):
        status, answer = predict(client, marks=marks)
        assert status == 200 and answer['data']['replace'] is False
        shapes = answer['data']['shapes']
        assert shapes and {shape['label'] for shape in shapes} == {'AUTOLABEL_OBJECT'}
        for shape in shapes:
            corners = np.array(shape['points'])
            assert (corners[0] == corners[-1]).all() and len(corners) > 3
            assert (corners >= 0).all() and (corners <= (WIDTH, HEIGHT)).all()
        if prompt:
            said = fork.predict_batch([prompt])
            best, score = said.names[0][0], said.name_scores[0, 0]
            assert shapes[0]['description'].startswith(f'{best} {score:.0%}')
            corners = np.concatenate([shape['points'] for shape in shapes])
            around = [*corners.min(0), *corners.max(0)]
            np.testing.assert_allclose(around, said.bboxes[0], atol=1.5)
    assert predict(client, marks=[NOT])[1]['data']['shapes'] == []
    assert len(predict(client, marks=[BOX, dict(BOX, data=[60, 5, 79, 30])])[1]['data']['shapes'])


def test_names_and_everything_become_objects_of_their_names(client):
    status, answer = predict(client, text_prompt='red thing, blue thing', current_task='find')
    assert status == 200 and answer['data']['replace'] is None
    assert {each['label'] for each in answer['data']['shapes']} <= {'red thing', 'blue thing'}
    status, answer = predict(client, current_task='everything')
    assert status == 200
    assert {each['label'] for each in answer['data']['shapes']} <= set(tiny.NAMES)


@pytest.mark.parametrize(
    'image, params, status, message',
    [
        ('data:image/png;base64,???', {}, 400, 'no data URI'),
        ('data:image/png;base64,', {}, 400, 'truncated or no image'),
        (IMAGE, dict(text_prompt=' , ', current_task='find'), 400, '0 names'),
        (IMAGE, dict(marks=[dict(POINT, data=[1, 2, 3])]), 400, 'point has other numbers'),
        (IMAGE, dict(current_task='video'), 422, 'current_task'),
    ],
)
def test_bad_request_is_told_in_a_sentence(client, image, params, status, message):
    found, answer = predict(client, image, **params)
    assert found == status and message in answer['error']


def test_limits_and_password_hold_here_too(serve):
    served, client = serve(password='plum')
    assert client.get('/v1/models').status_code == predict(client)[0] == 401
    assert predict(client, token='plum', marks=[POINT])[0] == 200
    large = base64.b64encode(bytes(MAX_FILE_SIZE + 1)).decode()
    status, answer = predict(client, large, token='plum')
    assert status == 413 and 'larger' in answer['error']
    assert len(served.sessions) == 1
    predict(client, token='plum', marks=[BOX])  # the same picture
    assert len(served.sessions) == 1
