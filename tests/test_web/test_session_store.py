"""Sessions are one's own, and are forgotten in time."""

import pytest

from mmovsam.web import SessionStore


@pytest.fixture
def clock():
    class Clock:
        now = 0.0

        def __call__(self):
            return self.now

    return Clock()


@pytest.fixture
def store(clock):
    """Of lists in place of sessions."""
    return SessionStore(list, max_sessions=3, forget_after=60, clock=clock)


def test_each_user_has_a_session_of_their_own(store):
    store.get('ann').append('cat')
    assert store.get('bob') == [] and store.get('ann') == ['cat']


def test_the_session_that_was_not_used_for_longest_makes_room(store):
    for user in ('ann', 'bob', 'cid', 'ann', 'dan'):
        store.get(user).append(1)
    assert len(store) == 3
    assert store.get('ann') == [1, 1] and store.get('bob') == []


def test_sessions_are_forgotten_when_they_are_not_used(store, clock):
    store.get('ann').append('cat')
    store.get('bob').append('dog')
    clock.now = 50
    assert store.get('ann') == ['cat']
    clock.now = 70
    assert store.get('bob') == []
    clock.now = 200
    store.drop_idle()
    assert len(store) == 0


def test_who_has_left_makes_room_first_but_may_come_back(store):
    for user in ('ann', 'bob', 'cid'):
        store.get(user).append(1)
    store.leave('cid')
    store.leave('nobody')
    assert store.get('cid') == [1]
    store.leave('cid')
    store.get('dan')
    assert store.get('ann') == [1] and store.get('bob') == [1]


def test_no_key_is_no_user(store):
    with pytest.raises(ValueError, match='key that is its own'):
        store.get(None)


@pytest.mark.parametrize('limits', [dict(max_sessions=0), dict(forget_after=0)])
def test_limits_that_leave_no_session_are_refused(limits):
    with pytest.raises(ValueError, match='at least 1 and forget_after above 0'):
        SessionStore(list, **limits)
