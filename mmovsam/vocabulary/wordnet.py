"""What nouns mean: ImageNet's synsets, 21,842 of them, with WordNet's definitions."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from .names import split_name

_LVIS_FILE = Path(__file__).with_name('lvis_v1.json')
# Kinds of persons. Half of them are slang words for people, such as `cow` and `sheep`.
_PERSONS = ('n09570298', 'n10788852')
_PARENTHESES = re.compile(r'\s*\(.*?\)')


@dataclass(frozen=True)
class Synset:
    """One meaning of a noun.

    Attributes:
        wnid: WordNet's id, such as `'n02012849'`.
        names: The nouns that have this meaning, as ImageNet lists them: `'sofa, couch, lounge'`.
        definition: What WordNet says about it.
    """

    wnid: str
    names: str
    definition: str

    @property
    def description(self) -> str:
        """Names and definition in one text."""
        return f'{self.names}: {self.definition}'

    @property
    def first(self) -> str:
        """The first of its names, in lower case."""
        return split_name(self.names)[0]

    @property
    def is_person(self) -> bool:
        """Whether it is a kind of persons, of which there are 2,800."""
        return _PERSONS[0] <= self.wnid <= _PERSONS[1]

    def position(self, name: str) -> int:
        """Where a name comes among the names, from 0; behind them all if it is none of them."""
        names = split_name(self.names)
        return names.index(name) if name in names else len(names)


class Nouns:
    """The meanings of nouns, by noun and by id; see `load_nouns`."""

    def __init__(self, synsets: list[Synset]) -> None:
        self._by_id = {synset.wnid: synset for synset in synsets}
        self._by_name: dict[str, list[Synset]] = defaultdict(list)
        for synset in synsets:
            for name in split_name(synset.names):
                self._by_name[name].append(synset)

    def __iter__(self) -> Iterator[Synset]:
        return iter(self._by_id.values())

    def synset(self, wnid: str) -> Synset | None:
        """The meaning with this id."""
        return self._by_id.get(wnid)

    def senses(self, name: str) -> list[Synset]:
        """The meanings of a noun in lower case, in the order of their ids.

        What stands in parentheses is passed over, and so is a plural's `s` where the plural itself
        is no known noun. Kinds of persons count only where there is no other meaning, and of a noun
        of LVIS only what LVIS may mean: see `may_mean`.
        """
        bare = _PARENTHESES.sub('', name)
        for form in (name, bare, bare.removesuffix('s')):
            senses = self._by_name.get(form, [])
            if senses:
                senses = [each for each in senses if may_mean(form, each.first)]
                return [sense for sense in senses if not sense.is_person] or senses
        return []


@lru_cache(maxsize=1)
def read_lvis() -> list[tuple[str, str, list[str], str]]:
    """LVIS's categories: name, frequency, other names, and the first name of the synset."""
    return json.loads(_LVIS_FILE.read_text(encoding='utf-8'))['categories']


@lru_cache(maxsize=1)
def _everyday_nouns() -> dict[str, set[str]]:
    """The first names of the synsets that LVIS means by each of its nouns."""
    firsts = defaultdict(set)
    for name, _, others, first in read_lvis():
        for noun in (name, *others):
            firsts[_PARENTHESES.sub('', noun.lower().replace('_', ' '))].add(first)
    return firsts


def may_mean(noun: str, first: str) -> bool:
    """Whether a noun can be meant as a name of the synset that has this first name.

    LVIS says so of its own nouns: a wheel is none of `'bicycle, bike, wheel, cycle'`, and a straw
    is no pale yellow. The first name itself always can.
    """
    return first in _everyday_nouns().get(noun, {first}) or first == noun


@lru_cache(maxsize=1)
def load_nouns() -> Nouns:
    """The nouns of ImageNet-22k and of ImageNet-1k, which has one of its own."""
    synsets = [*read_synsets('imagenet22k'), *read_synsets('imagenet1k')]
    return Nouns(list({synset.wnid: synset for synset in synsets}.values()))


def read_synsets(subset: str) -> Iterator[Synset]:
    """The classes of `'imagenet1k'` or `'imagenet22k'`, which timm carries, in their order."""
    from timm.data import ImageNetInfo

    info = ImageNetInfo(subset)
    for wnid in info.label_names():
        names = info.label_name_to_description(wnid)
        detailed = info.label_name_to_description(wnid, detailed=True)
        yield Synset(wnid, names, detailed.removeprefix(f'{names}: '))
