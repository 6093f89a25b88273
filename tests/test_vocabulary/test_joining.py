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


def test_synonym_that_both_have_joins_nothing():
    joined = join_vocabularies(
        dict(
            a=classes('dude', synonyms=[['fellow']]),
            b=classes('chap', synonyms=[['fellow']]),
        )
    )
    assert joined.labels == dict(a=(0,), b=(1,)) and joined.conflicts == ()


def test_class_that_could_be_several_is_reported_and_stays_apart():
    joined = join_vocabularies(dict(a=classes('pen', 'playpen'), b=classes('playpen, pen')))
    assert joined.labels['b'] == (2,)
    assert joined.conflicts == (
        "b: 'playpen, pen' shares a name with 'pen', 'playpen' and stays a class of its own",
    )


def test_remark_in_parentheses_is_reported_and_joined_by_hand():
    sources = dict(a=classes('bow_(weapon)', 'plum'), b=classes('bow', 'plum'))
    joined = join_vocabularies(sources)
    assert joined.labels['b'] == (2, 1)
    assert joined.conflicts[0].startswith("b: 'bow' shares a name with 'bow_(weapon)'")
    by_hand = join_vocabularies(sources, dict(b={'bow': 'bow_(weapon)'}))
    assert by_hand.labels['b'] == (0, 1) and by_hand.conflicts == ()


def test_classes_can_be_kept_apart_by_hand():
    sources = dict(a=classes('bass, fish'), b=classes('bass'))
    assert join_vocabularies(sources).labels['b'] == (0,)
    assert join_vocabularies(sources, dict(b=dict(bass=None))).labels['b'] == (1,)
    with pytest.raises(ValueError, match="'Plum' is to be another class than 'plum'"):
        join_vocabularies(dict(a=classes('plum'), b=classes('Plum')), dict(b=dict(Plum=None)))


def test_a_class_is_novel_only_where_no_data_set_teaches_it():
    joined = join_vocabularies(
        dict(
            a=classes('cat', 'owl', 'plum', 'tie', novel=(False, True, True, None)),
            b=classes('owl'),
            c=classes('tie', 'cat', novel=(True, True)),
        )
    )
    assert joined.metainfo['novel'] == (False, False, True, True)


def test_prompts_of_a_class_are_kept_under_its_joint_name():
    joined = join_vocabularies(
        dict(a=classes('owl'), b=classes('Owl', prompts=dict(Owl=['a bird of the night'])))
    )
    assert joined.metainfo['prompts'] == dict(owl=('a bird of the night',))


@pytest.mark.parametrize(
    'same, message',
    [
        (dict(c={}), "'c', which is none of sources: 'a', 'b'"),
        (dict(b=dict(dog='cat')), "'dog', which is none of the classes of b: 'owl'"),
        (dict(b=dict(owl='dog')), "'dog', which is none of the classes before: 'cat'"),
    ],
)
def test_unknown_names_in_what_is_joined_by_hand_are_named(same, message):
    with pytest.raises(ValueError, match=message):
        join_vocabularies(dict(a=classes('cat'), b=classes('owl')), same)
