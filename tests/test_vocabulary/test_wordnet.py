"""WordNet's nouns: their meanings, kinds, and the shipped list of them."""

import pytest
from timm.data import ImageNetInfo

from mmovsam.vocabulary.wordnet import Nouns, Synset, load_nouns, read_lvis, read_synsets

BIRD = Synset('n02012849', 'crane', 'a wading bird', ('n01503061',))
MACHINE = Synset('n03126707', 'crane', 'lifts heavy objects')
COW = Synset('n02403454', 'cow, moo-cow', 'female of domestic cattle')
WOMAN = Synset('n09972587', 'cow', 'a large unpleasant woman')
GUARD = Synset('n10150071', 'guard', 'a person who keeps watch')
FENDER = Synset('n03329663', 'guard', 'a low metal guard to confine falling coals')
ANIMALS = Synset('n01503061', 'bird', 'warm-blooded egg-laying vertebrates')
SYNSETS = [ANIMALS, BIRD, COW, MACHINE, FENDER, WOMAN, GUARD]
ORDER = dict(guard=[GUARD.wnid, FENDER.wnid])
NOUNS = Nouns(SYNSETS, ORDER, dict(oxen='cow'))


@pytest.mark.parametrize(
    'name, meanings',
    [
        ('crane', [BIRD, MACHINE]),
        ('crane (machine)', [BIRD, MACHINE]),
        ('cranes', [BIRD, MACHINE]),
        ('moo-cow', [COW]),
        ('oxen', [COW]),
        ('owl', []),
        # persons count only where the most frequent meaning is one
        ('cow', [COW]),
        ('guard', [GUARD, FENDER]),
    ],
)
def test_a_noun_has_all_its_meanings_in_their_order(name, meanings):
    assert NOUNS.senses(name) == meanings


def test_hypernyms_are_followed_to_the_root_the_nearest_first():
    assert list(NOUNS.hypernyms(BIRD)) == [ANIMALS]
    nouns = load_nouns()
    (beagle,) = nouns.senses('beagle')
    names = [hypernym.nouns[0] for hypernym in nouns.hypernyms(beagle)]
    assert names[:3] == ['hound', 'hunting dog', 'dog'] and names[-1] == 'entity'


@pytest.mark.parametrize(
    'name, definition',
    [
        ('cup', 'a small open container'),  # LVIS has no punch
        ('plate', 'dish on which food is served'),  # nor ImageNet any plate to eat from
        ('sinks', 'plumbing fixture'),
        ('pants', '(usually in the plural) a garment'),  # LVIS's, not underwear for women
        ('bow (weapon)', 'a weapon for shooting arrows'),
        ('knives', 'edge tool'),
        ('mouse', 'a hand-operated electronic device'),
        ('man', 'an adult person who is male'),
        ('women', 'an adult female person'),
        ('people', 'a human being'),
        ('wall', 'an architectural partition'),
        ('hand', 'the (prehensile) extremity'),
    ],
)
def test_everyday_nouns_mean_the_everyday_thing_first(name, definition):
    assert load_nouns().senses(name)[0].definition.startswith(definition)


def test_shipped_nouns_are_complete_and_agree_with_timms():
    nouns = load_nouns()
    assert all(nouns.synset(wnid) for synset in nouns for wnid in synset.hypernyms)
    assert [name for name, *_, wnid in read_lvis() if wnid is None] == ['stop_sign']
    assert all(nouns.synset(wnid) for *_, wnid in read_lvis() if wnid)
    info = ImageNetInfo('imagenet22k')
    synsets = read_synsets('imagenet22k')
    assert len(synsets) == 21841
    assert {info.label_name_to_description(s.wnid) == s.names for s in synsets} == {True}
