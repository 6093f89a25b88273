"""Which names are related by WordNet, so that they do not compete: `'a red cup'` and `'cup'`."""

from __future__ import annotations

from functools import lru_cache

from .names import split_name, without_article
from .wordnet import Synset, load_nouns

MAIN_SENSES = 2
"""So many of a noun's meanings count, the most frequent ones."""


def are_related(one: str, other: str) -> bool:
    """Whether two class names, with or without an article, may both be right for one object.

    That is so if they share a noun or, by WordNet, a meaning; if one ends with the other, as
    `'red cup'` with `'cup'`, unless it is a noun of its own as `'hot dog'`; or if one is a kind of
    the other. Only a noun's main meanings count.
    """
    names, other_names = _nouns(one), _nouns(other)
    return bool(
        {name.replace(' ', '') for name in names} & {name.replace(' ', '') for name in other_names}
        or any(_ends_with(a, b) or _ends_with(b, a) for a in names for b in other_names)
        or _meanings(names) & _with_hypernyms(other_names)
        or _with_hypernyms(names) & _meanings(other_names)
    )


@lru_cache(maxsize=30000)
def _nouns(name: str) -> tuple[str, ...]:
    return tuple(map(without_article, split_name(name)))


def _ends_with(longer: str, shorter: str) -> bool:
    return longer.endswith(f' {shorter}') and not load_nouns().senses(longer)


def _main_senses(nouns: tuple[str, ...]) -> list[Synset]:
    return [sense for noun in nouns for sense in load_nouns().senses(noun)[:MAIN_SENSES]]


@lru_cache(maxsize=30000)
def _meanings(nouns: tuple[str, ...]) -> frozenset[str]:
    return frozenset(sense.wnid for sense in _main_senses(nouns))


@lru_cache(maxsize=30000)
def _with_hypernyms(nouns: tuple[str, ...]) -> frozenset[str]:
    senses = _main_senses(nouns)
    hypernyms = (kind for sense in senses for kind in load_nouns().hypernyms(sense))
    return frozenset(kind.wnid for kind in (*senses, *hypernyms))
