"""Any request gets an answer of its kind or a refusal in a sentence, and changes nobody else's."""

import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rest_client import HEIGHT, WIDTH

LENIENT = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
NUMBERS = st.one_of(st.floats(-10, 100), st.integers(-(10**400), 10**400), st.floats())
ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.text(st.characters(), max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


def floats(length):
    """Lists of numbers that are mostly inside of the picture."""
    return st.lists(st.one_of(st.floats(0, min(HEIGHT, WIDTH)), NUMBERS), min_size=length - 1)


POINTS = st.lists(floats(2).map(lambda xy: xy[:2]), max_size=3)
PROMPTS = st.fixed_dictionaries(
    {},
    optional=dict(
        point_coords=st.one_of(POINTS, ANYTHING),
        point_labels=st.one_of(st.lists(st.integers(-1, 2), max_size=3), ANYTHING),
        box=st.one_of(floats(4).map(lambda box: sorted(box[:4], key=str)), ANYTHING),
        mask=st.one_of(
            st.builds(
                lambda counts: dict(size=[HEIGHT, WIDTH], counts=counts),
                st.text(st.characters(min_codepoint=48, max_codepoint=111), max_size=9),
            ),
            ANYTHING,
        ),
    ),
)


@LENIENT
@given(st.lists(PROMPTS, max_size=3), st.sampled_from(['rle', 'polygons']), ANYTHING)
def test_prompts_of_any_kind(user, prompts, mask_format, top_k):
    before = dict(prompts=[dict(box=[10, 12, 50, 40])])
    expected = user.post('/prompt', **before)
    request = dict(prompts=prompts, mask_format=mask_format)
    for extra in ({}, dict(top_k=top_k)):
        check(user, 'POST', '/prompt', {**request, **extra}, 'objects')
    assert user.post('/prompt', **before) == expected


@LENIENT
@given(st.one_of(st.lists(st.one_of(st.text(max_size=9), ANYTHING), max_size=3), ANYTHING))
def test_names_of_any_kind(user, names):
    check(user, 'PUT', '/vocabulary', dict(names=names), 'names')
    check(user, 'POST', '/find', dict(names=names, bboxes=[[10, 12, 50, 40]]), 'objects')


@LENIENT
@given(ANYTHING)
def test_json_of_any_kind(user, request_):
    for path in ('/prompt', '/find', '/everything', '/sessions'):
        if request_ not in ({}, None):  # which may ask for something
            check(user, 'POST', path, request_, None)


def check(user, method, path, request, answered):
    """The status is one of those that are told, and the answer has what belongs to it."""
    content = json.dumps(request).encode()  # with NaN and lone surrogates, which httpx refuses
    headers = {**user.headers, 'Content-Type': 'application/json'}
    answer = user.client.request(method, path, content=content, headers=headers)
    if answer.status_code == 200:
        assert answered in answer.json()
    else:
        assert answer.status_code in (400, 422) and answer.json()['error'], answer.text
