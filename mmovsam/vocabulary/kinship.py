"""Which names are akin, so that one does not speak against the other: `'a red cup'` and `'cup'`."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache

from .names import split_name
from .wordnet import Synset, load_nouns

STEPS = 2  # how many definitions are followed, from a thing to what it is a kind of
PERSONS = ('man', 'men', 'boy', 'baby', 'people', 'women', 'children', 'kid', 'human')
"""Words for persons that ImageNet's list lacks, or has for something else."""
_ARTICLE = re.compile(r'^(a|an|the)\s+')
# What a definition says of its noun comes before these words, ...
_END = re.compile(
    r'[,;:()]|\b(?:that|which|who|whose|with|for|from|in|on|at|by|to|used|having|made|consisting|'
    r'worn|designed|usually|containing|resembling|similar|found|native|covered|driven|brewed|as|and|or|where)\b'
)
# ... and after these.
_KIND = re.compile(
    r'(?:.*\b)?(?:kinds?|breeds?|types?|variety|varieties|species|forms?|any|several|various) of '
    r'(?:the |several |various )?'
)


def are_akin(one: str, other: str) -> bool:
    """Whether two class names, with or without an article, may be right of the same thing.

    That is so if they share a noun or, by ImageNet's list of WordNet's nouns, a meaning; if one
    ends with the other, as `'red cup'` with `'cup'`, unless it is a noun of its own as `'hot dog'`
    is; or if one is a kind of the other, as far as WordNet's definitions tell in a few steps: a
    beagle is a breed of hound, and a hound one of dog. Only a noun's first meanings count.
    """
    names, others = _nouns(one), _nouns(other)
    return bool(
        {noun.replace(' ', '') for noun in names} & {noun.replace(' ', '') for noun in others}
        or any(_ends_with(a, b) or _ends_with(b, a) for a in names for b in others)
        or _kinds(names) & set(others)
        or _kinds(others) & set(names)
        or _meanings(names) & _meanings(others)
    )


def kinds_of(names: Collection[str]) -> dict[str, list[Synset]]:
    """The nouns that are a kind of each name, as their definitions tell: of `truck` a lorry.

    Kinds of `person` are all that WordNet has. A noun is of one name only, the longest, and none
    that is among the names itself.
    """
    kinds = {name: [] for name in names}
    for noun in load_nouns():
        genus = {'person'} if noun.is_person else _genus(noun.definition)
        if genus & kinds.keys() and not kinds.keys() & {*split_name(noun.names)}:
            kinds[max(genus & kinds.keys(), key=len)].append(noun)
    return kinds


@lru_cache(maxsize=30000)
def _nouns(name: str) -> tuple[str, ...]:
    return tuple(_ARTICLE.sub('', part) for part in split_name(name))


def _ends_with(longer: str, shorter: str) -> bool:
    return longer.endswith(f' {shorter}') and not load_nouns().senses(longer)


def _first_senses(noun: str) -> list[Synset]:
    """The meanings that the noun is a usual name of."""
    senses = load_nouns().senses(noun)
    first = min((sense.position(noun) for sense in senses), default=0)
    return [sense for sense in senses if sense.position(noun) <= max(first, 1)]


@lru_cache(maxsize=30000)
def _meanings(nouns: tuple[str, ...]) -> frozenset[str]:
    return frozenset(sense.wnid for noun in nouns for sense in _first_senses(noun))


@lru_cache(maxsize=30000)
def _kinds(nouns: tuple[str, ...]) -> frozenset[str]:
    """What the nouns are kinds of."""
    found = {'person'} if set(nouns) & set(PERSONS) else set()
    latest = set(nouns)
    for _ in range(STEPS):
        senses = [sense for noun in latest for sense in _first_senses(noun)]
        latest = {kind for sense in senses for kind in _genus(sense.definition)} - found
        found |= latest
    return frozenset(found)


def _genus(definition: str) -> set[str]:
    """The noun of a definition, and what is known of it with the words before: `'dining table'`."""
    text = _KIND.sub('', definition.lower().partition(';')[0])
    words = _END.split(text.strip(), maxsplit=1)[0].partition(' of ')[0].split()
    endings = [' '.join(words[start:]) for start in range(max(0, len(words) - 3), len(words))]
    return {e for e in endings if e == endings[-1] or load_nouns().senses(e)}
