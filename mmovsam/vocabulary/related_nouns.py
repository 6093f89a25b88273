"""Which names are related by WordNet, so that they do not compete: `'a red cup'` and `'cup'`."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache

from .names import split_name
from .wordnet import Synset, load_nouns

STEPS = 2  # how many definitions are followed from a noun to its hypernyms
PERSONS = ('man', 'men', 'boy', 'baby', 'people', 'women', 'children', 'kid', 'human')
"""Words for persons that ImageNet's list lacks, or has for something else."""
_ARTICLE = re.compile(r'^(a|an|the)\s+')
# The genus in a definition comes before these words, ...
_END = re.compile(
    r'[,;:()]|\b(?:that|which|who|whose|with|for|from|in|on|at|by|to|used|having|made|consisting|'
    r'worn|designed|usually|containing|resembling|similar|found|native|covered|driven|brewed|as|and|or|where)\b'
)
# ... and after these.
_KIND = re.compile(
    r'(?:.*\b)?(?:kinds?|breeds?|types?|variety|varieties|species|forms?|any|several|various) of '
    r'(?:the |several |various )?'
)


def are_related(one: str, other: str) -> bool:
    """Whether two class names, with or without an article, may both be right for one object.

    That is so if they share a noun or, by ImageNet's list of WordNet's nouns, a meaning; if one
    ends with the other, as `'red cup'` with `'cup'`, unless it is a noun of its own as `'hot dog'`;
    or if one is a hypernym of the other, as far as WordNet's definitions tell in a few steps: a
    beagle is a breed of hound, and a hound one of dog. Only a noun's first meanings count.
    """
    names, other_names = _nouns(one), _nouns(other)
    return bool(
        {name.replace(' ', '') for name in names} & {name.replace(' ', '') for name in other_names}
        or any(_ends_with(a, b) or _ends_with(b, a) for a in names for b in other_names)
        or _hypernyms(names) & set(other_names)
        or _hypernyms(other_names) & set(names)
        or _meanings(names) & _meanings(other_names)
    )


def hyponyms_of(names: Collection[str]) -> dict[str, list[Synset]]:
    """The synsets that are a kind of each name by their definitions, as a lorry is of `truck`.

    Those of `person` are all of WordNet's. A synset belongs to one name only, the longest, and
    none has one of `names` itself.
    """
    hyponyms = {name: [] for name in names}
    for synset in load_nouns():
        genus = {'person'} if synset.is_person else _genus(synset.definition)
        if genus & hyponyms.keys() and not hyponyms.keys() & {*split_name(synset.names)}:
            hyponyms[max(genus & hyponyms.keys(), key=len)].append(synset)
    return hyponyms


@lru_cache(maxsize=30000)
def _nouns(name: str) -> tuple[str, ...]:
    return tuple(_ARTICLE.sub('', noun) for noun in split_name(name))


def _ends_with(longer: str, shorter: str) -> bool:
    return longer.endswith(f' {shorter}') and not load_nouns().senses(longer)


def _first_senses(noun: str) -> list[Synset]:
    """The synsets that list the noun early among their names."""
    senses = load_nouns().senses(noun)
    first = min((sense.position(noun) for sense in senses), default=0)
    return [sense for sense in senses if sense.position(noun) <= max(first, 1)]


@lru_cache(maxsize=30000)
def _meanings(nouns: tuple[str, ...]) -> frozenset[str]:
    return frozenset(sense.wnid for noun in nouns for sense in _first_senses(noun))


@lru_cache(maxsize=30000)
def _hypernyms(nouns: tuple[str, ...]) -> frozenset[str]:
    hypernyms = {'person'} if set(nouns) & set(PERSONS) else set()
    latest = set(nouns)
    for _ in range(STEPS):
        senses = [sense for noun in latest for sense in _first_senses(noun)]
        latest = {genus for sense in senses for genus in _genus(sense.definition)} - hypernyms
        hypernyms |= latest
    return frozenset(hypernyms)


def _genus(definition: str) -> set[str]:
    """The head noun of a definition, and longer known nouns that end it: `'dining table'`."""
    text = _KIND.sub('', definition.lower().partition(';')[0])
    words = _END.split(text.strip(), maxsplit=1)[0].partition(' of ')[0].split()
    endings = [' '.join(words[start:]) for start in range(max(0, len(words) - 3), len(words))]
    return {ending for ending in endings if ending == endings[-1] or load_nouns().senses(ending)}
