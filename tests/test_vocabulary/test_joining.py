"""Vocabularies of several data sets as one."""

import pytest

from mmovsam.vocabulary import Vocabulary, join_vocabularies


def classes(*names, **more):
    return dict(classes=names, **more)


def test_classes_are_joined_by_name_and_others_added_in_their_order():
    joined = join_vocabularies(dict(a=classes('cat', 'red_car'), b=classes('dog', 'Red car')))
    assert joined.metainfo['classes'] == ('cat', 'red_car', 'dog')
    assert joined.labels == dict(a=(0, 1), b=(2, 1))
    assert joined.merged == ("b: 'Red car' is 'red_car'",) and joined.conflicts == ()
    assert 'novel' not in joined.metainfo and 'prompts' not in joined.metainfo


@pytest.mark.parametrize(
    'first, second',
    [
        (classes('sofa, couch'), classes('couch')),
        (classes('couch'), classes('sofa_or_couch')),
        (classes('sofa', synonyms=[['couch']]), classes('couch')),
        (classes('couch'), classes('sofa', synonyms=[['couch']])),
    ],
)
def test_a_class_is_known_by_its_other_names_and_hands_them_on(first, second):
    joined = join_vocabularies(dict(a=first, b=second))
    assert joined.labels == dict(a=(0,), b=(0,))
    vocabulary = Vocabulary.from_metainfo(joined.metainfo)
    assert set(vocabulary.prompt_names[0]) == {'sofa', 'couch'}


@pytest.mark.parametrize(
    'first, second, same, labels, conflict',
    [
        # a synonym that both have joins nothing
        (classes('dude', synonyms=[['pal']]), classes('chap', synonyms=[['pal']]), {}, (1,), None),
        # what could be several or has a remark is reported and stays apart
        (
            classes('pen', 'playpen'),
            classes('playpen, pen'),
            {},
            (2,),
            "b: 'playpen, pen' shares a name with 'pen', 'playpen' and stays a class of its own",
        ),
        (
            classes('bow_(weapon)'),
            classes('bow'),
            {},
            (1,),
            "b: 'bow' shares a name with 'bow_(weapon)' and stays a class of its own",
        ),
        # both can be decided by hand
        (classes('bow_(weapon)'), classes('bow'), {'bow': 'bow_(weapon)'}, (0,), None),
        (classes('bass, fish'), classes('bass'), {}, (0,), None),
        (classes('bass, fish'), classes('bass'), dict(bass=None), (1,), None),
    ],
)
def test_classes_in_doubt_stay_apart_and_are_reported(first, second, same, labels, conflict):
    joined = join_vocabularies(dict(a=first, b=second), dict(b=same))
    assert joined.labels['b'] == labels
    assert joined.conflicts == ((conflict,) if conflict else ())


def test_a_class_is_novel_only_where_no_data_set_teaches_it():
    joined = join_vocabularies(
        dict(
            a=classes('cat', 'owl', 'plum', 'tie', novel=(False, True, True, None)),
            b=classes('owl'),
            c=classes('tie', 'cat', novel=(True, True)),
        )
    )
    assert joined.metainfo['novel'] == (False, False, True, True)


@pytest.mark.parametrize(
    'same, message',
    [
        (dict(c={}), "'c', which is none of sources: 'a', 'b'"),
        (dict(b=dict(dog='cat')), "'dog', which is none of the classes of b: 'owl', 'Cat'"),
        (dict(b=dict(owl='dog')), "'dog', which is none of the classes before: 'cat'"),
        (dict(b=dict(Cat=None)), "'Cat' is to be another class than 'cat'"),
    ],
)
def test_unknown_names_in_what_is_joined_by_hand_are_named(same, message):
    with pytest.raises(ValueError, match=message):
        join_vocabularies(dict(a=classes('cat'), b=classes('owl', 'Cat')), same)
