"""Which names may be right of the same thing."""

import pytest

from mmovsam.vocabulary.related_nouns import are_related

RELATED = [
    ('dog', 'Dog'),
    ('a red cup', 'cup'),
    ('the cup', 'a cup'),
    ('cellphone', 'cell phone'),
    ('sofa/couch', 'couch'),
    ('sofa', 'couch'),  # WordNet has them as one meaning
    ('automobile', 'car'),
    ('doughnut', 'donut'),
    ('puppy', 'dog'),
    ('beagle', 'dog'),  # a breed of hound, which is a breed of dog
    ('taxi', 'car'),
    ('woman', 'person'),
    ('man', 'person'),
    ('people', 'person'),
    ('tennis player', 'person'),
    ('vehicle', 'truck'),
    ('fruit', 'banana'),
]
OTHERS = [
    ('dog', 'cat'),
    ('dog', 'hot dog'),
    ('bear', 'teddy bear'),
    ('cup', 'bowl'),
    ('a red cup', 'red wine'),
    ('car', 'truck'),
    ('wheel', 'bicycle'),  # though WordNet has it as a name of one
    ('bus', 'train'),
    ('scar', 'car'),
    ('red star', 'blue star'),
    ('qwxz', 'zxwq'),
]


@pytest.mark.parametrize('one, other', RELATED + OTHERS)
def test_synonyms_kinds_and_described_things_are_related_and_others_not(one, other):
    assert are_related(one, other) == are_related(other, one) == ((one, other) in RELATED)
