import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmovsam.vocabulary import novel_flags, split_name


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('Person', ('person',)),
        ('traffic_light', ('traffic light',)),
        ('sofa_or_couch', ('sofa', 'couch')),
        ('Sofa_OR_couch', ('sofa', 'couch')),
        ('cup/mug,beaker', ('cup', 'mug', 'beaker')),
        ('bow_(weapon)', ('bow (weapon)',)),
        ('flip-flop_(sandal)', ('flip-flop (sandal)',)),
        ('red or green', ('red or green',)),
        ('corridor', ('corridor',)),
        (' a , a,b ', ('a', 'b')),
        ('Moniter/TV', ('moniter', 'tv')),
        ('sofa / couch', ('sofa', 'couch')),
        ('w/o mask', ('w/o mask',)),
        ('w/ mask', ('w/ mask',)),
        ('W/O_mask', ('w/o mask',)),
        ('I/O port', ('i/o port',)),
        ('speed limit 30 km/h', ('speed limit 30 km/h',)),
        ('24/7 shop', ('24/7 shop',)),
        ('1/2 cup', ('1/2 cup',)),
        ('1,000 dollars', ('1,000 dollars',)),
        ('mask, 2, 3', ('mask', '2', '3')),
    ],
)
def test_split_name_follows_the_rules(name, expected):
    assert split_name(name) == expected


@pytest.mark.parametrize('name', ['', '  ', '_', '/,', '_or_', ',_or_/'])
def test_name_without_a_letter_is_refused(name):
    with pytest.raises(ValueError, match='is empty'):
        split_name(name)


@pytest.mark.parametrize('name', [None, 3, b'cat', ['cat']])
def test_name_that_is_no_string_is_refused(name):
    with pytest.raises(TypeError, match='must be a string'):
        split_name(name)


@given(st.lists(st.text('abc_ /,(or)'), max_size=4).map('_or_'.join))
def test_split_names_are_clean_and_stable(name):
    try:
        names = split_name(name)
    except ValueError:
        assert not set(name.replace('_or_', '')) - set('_ /,')
        return
    assert len(set(names)) == len(names)
    for part in names:
        assert part == part.strip().lower()
        assert '_' not in part and ',' not in part
        assert '/' not in part or re.search(r'\b[a-z] ?/|/ ?[a-z]\b', part)
        assert split_name(part) == (part,)


def test_novel_names_may_leave_a_part_open():
    classes = ('red owl', 'owl', 'red cat', 'a[b]', 'ab')
    assert novel_flags(classes, ['* owl', 'a[b]']) == (True, False, False, True, True)
    assert novel_flags(classes, ['owl']) == (False, True, False, False, False)
    assert novel_flags(classes, []) == (False,) * 5


def test_novel_names_that_fit_no_class_are_told():
    with pytest.raises(ValueError, match=r"novel has '\* dog', which is no class.*'cat'"):
        novel_flags(('cat', 'owl'), ['owl', '* dog'])
