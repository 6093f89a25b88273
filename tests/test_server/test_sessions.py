"""Sessions in bounded memory, and requests that are too large, too slow or too many."""

import asyncio
import dataclasses
import threading

import pytest
from rest_client import User, png

from mmovsam.server import Limits, Sessions
from mmovsam.server.limits import BodyLimit, ModelThread


class Sized:
    """Stands in for a predictor of some bytes."""

    nbytes = 0


def sessions_of(max_bytes, **settings):
    """Sessions, and a list whose only number is the time."""
    now = [0.0]
    return Sessions(Sized, max_bytes, clock=lambda: now[0], **settings), now


def test_the_least_recently_used_sessions_make_room():
    sessions, _ = sessions_of(100)
    first, second, empty, third = (sessions.open() for _ in range(4))

    def fill(token, nbytes):
        sessions.get(token).nbytes = nbytes
        sessions.measure(token)

    fill(first, 40)
    fill(second, 40)
    sessions.get(first)
    fill(third, 40)
    assert sessions.get(second) is None and len(sessions) == 3
    assert sessions.get(first).nbytes == 40 and sessions.get(empty).nbytes == 0
    fill(third, 1000)  # more than there is: it stays, alone with the empty one
    assert sessions.get(first) is None and sessions.get(third) and sessions.get(empty)


def test_sessions_end_after_a_time_by_number_and_when_closed():
    sessions, now = sessions_of(100, max_sessions=2, forget_after=10)
    tokens = [sessions.open() for _ in range(3)]
    assert [sessions.get(token) is None for token in tokens] == [True, False, False]
    now[0] = 8
    sessions.get(tokens[1])
    now[0] = 15
    assert sessions.get(tokens[2]) is None and sessions.get(tokens[1])
    sessions.close(tokens[1])
    assert sessions.get(tokens[1]) is None and len(sessions) == 0
    with pytest.raises(ValueError, match='must be above 0, not 0'):
        Sessions(Sized, 0)
    with pytest.raises(ValueError, match='max_pixels must be above 0, not -1'):
        Limits(max_pixels=-1)


def test_memory_of_pictures_and_names_is_counted(serve):
    served, client = serve()
    user = User(client)
    user.image(png())
    predictor = served.sessions.get(user.headers['Authorization'].split()[1])
    picture = predictor.nbytes
    assert picture >= predictor.features.numel() * 4
    user.send('PUT', '/vocabulary', json=dict(names=['a', 'b']))
    named = predictor.nbytes
    user.post('/everything', points_per_side=2, quality_thr=0, stability_thr=0, min_area=1)
    assert picture < named < predictor.nbytes
    limits = dataclasses.replace(served.limits, max_memory=int(picture * 2.5))
    _, client = serve(limits)
    users = [User(client) for _ in range(3)]
    for user in users:
        user.image(png())
    box = dict(prompts=[dict(box=[1, 2, 30, 40])])
    assert [user.post('/prompt', **box)[0] for user in users] == [401, 200, 200]


def received_by(limits, parts, seconds=0.0, max_bytes=10):
    """The body that an application gets through the middleware, or the status of its refusal."""

    async def ask():
        async def app(scope, receive, send):
            more = True
            while more:
                message = await receive()
                bodies.append(message['body'])
                more = message['more_body']

        async def receive():
            await asyncio.sleep(seconds)
            return dict(type='http.request', body=rest.pop(0), more_body=bool(rest))

        rest, bodies = list(parts), []
        middleware = BodyLimit(app, limits, lambda path: max_bytes)
        try:
            await middleware(dict(type='http', path='/a'), receive, None)
            return b''.join(bodies)
        except Exception as error:
            return error.status_code
        finally:
            assert middleware.under_way == 0

    return asyncio.run(ask())


def test_requests_are_refused_while_they_come_in():
    assert received_by(Limits(), [b'12345', b'67890']) == b'1234567890'
    assert received_by(Limits(), [b'12345', b'67890', b'1']) == 413
    assert received_by(Limits(max_uploads=7), [b'12345', b'67890']) == 503
    assert received_by(Limits(upload_seconds=0.01), [b'12345'], seconds=5) == 408


def test_calls_run_in_their_order_and_no_more_wait_than_may():
    started, go_on, done = threading.Event(), threading.Event(), []

    def first():
        started.set()
        go_on.wait()
        done.append(0)

    async def ask():
        thread = ModelThread(max_waiting=3)
        calls = [asyncio.ensure_future(thread(first))]
        calls += [asyncio.ensure_future(thread(done.append, i)) for i in (1, 2)]
        await asyncio.sleep(0)
        with pytest.raises(Exception, match='3 requests wait') as refused:
            await thread(done.append, 3)
        go_on.set()
        await asyncio.gather(*calls)
        await thread(done.append, 4)
        return refused.value.status_code

    assert asyncio.run(ask()) == 503
    assert done == [0, 1, 2, 4]
