"""Meanings of nouns."""

from mmovsam.vocabulary.wordnet import Nouns, Synset, load_nouns

BIRD = Synset('n02012849', 'crane', 'a wading bird')
MACHINE = Synset('n03126707', 'crane', 'lifts heavy objects')
COW = Synset('n02403454', 'cow, moo-cow', 'female of domestic cattle')
WOMAN = Synset('n09972587', 'cow', 'a large unpleasant woman')
GUARD = Synset('n10150071', 'guard', 'a person who keeps watch')
NOUNS = Nouns([BIRD, MACHINE, COW, WOMAN, GUARD])


def test_a_noun_has_all_its_meanings():
    assert NOUNS.senses('crane') == [BIRD, MACHINE]
    assert NOUNS.senses('moo-cow') == [COW]
    assert NOUNS.senses('owl') == []


def test_parentheses_and_a_plural_are_passed_over():
    assert NOUNS.senses('crane (machine)') == NOUNS.senses('cranes') == [BIRD, MACHINE]


def test_persons_count_only_where_nothing_else_is_meant():
    assert NOUNS.senses('cow') == [COW]
    assert NOUNS.senses('guard') == [GUARD]


def test_a_synset_says_its_names_and_what_they_mean():
    assert NOUNS.synset('n02403454') is COW and NOUNS.synset('n00000000') is None
    assert COW.description == 'cow, moo-cow: female of domestic cattle'
    assert [COW.position(name) for name in ('cow', 'moo-cow', 'ox')] == [0, 1, 2]


def test_imagenets_synsets_are_all_there():
    nouns = load_nouns()
    assert len(list(nouns)) == 21842
    assert nouns.synset('n01440764').names == 'tench, Tinca tinca'
    assert nouns.synset('n02012849').definition.startswith('large long-necked wading bird')
