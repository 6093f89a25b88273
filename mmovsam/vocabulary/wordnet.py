"""WordNet's meanings of nouns: ImageNet's 21,842 synsets with their definitions."""

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
_PERSONS = ('n09570298', 'n10788852')  # ids from, to; many names are slang, such as `cow`
_PARENTHESES = re.compile(r'\s*\(.*?\)')


@dataclass(frozen=True)
class Synset:
    """A meaning of nouns.

    Attributes:
        wnid: WordNet's id, such as `'n02012849'`.
        names: The nouns with this meaning, as ImageNet lists them: `'sofa, couch, lounge'`.
        definition: WordNet's definition.
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
        """Whether it is one of the 2,800 kinds of persons."""
        return _PERSONS[0] <= self.wnid <= _PERSONS[1]

    def position(self, name: str) -> int:
        """The index of a name among the names; their number if it is none of them."""
        names = split_name(self.names)
        return names.index(name) if name in names else len(names)


class Nouns:
    """Synsets by noun and by id; see `load_nouns`."""

    def __init__(self, synsets: list[Synset]) -> None:
        self._by_id = {synset.wnid: synset for synset in synsets}
        self._by_name: dict[str, list[Synset]] = defaultdict(list)
        for synset in synsets:
            for name in split_name(synset.names):
                self._by_name[name].append(synset)

    def __iter__(self) -> Iterator[Synset]:
        return iter(self._by_id.values())

    def synset(self, wnid: str) -> Synset | None:
        """The synset with this id, else None."""
        return self._by_id.get(wnid)

    def senses(self, name: str) -> list[Synset]:
        """The meanings of a lower-case noun, in the order of their ids.

        Parentheses are ignored, and so is a plural's `s` if the plural is no known noun. Kinds of
        persons count only if there is no other meaning, and for a noun of LVIS only what LVIS may
        mean, see `may_mean`.
        """
        bare = _PARENTHESES.sub('', name)
        for form in (name, bare, bare.removesuffix('s')):
            senses = self._by_name.get(form, [])
            if senses:
                senses = [sense for sense in senses if may_mean(form, sense.first)]
                return [sense for sense in senses if not sense.is_person] or senses
        return []


@lru_cache(maxsize=1)
def read_lvis() -> list[tuple[str, str, list[str], str]]:
    """LVIS's categories: name, frequency, synonyms, and the first name of the synset."""
    return json.loads(_LVIS_FILE.read_text(encoding='utf-8'))['categories']


@lru_cache(maxsize=1)
def _lvis_meanings() -> dict[str, set[str]]:
    """The first names of the synsets that LVIS means by each of its nouns."""
    firsts = defaultdict(set)
    for name, _, synonyms, first in read_lvis():
        for noun in (name, *synonyms):
            firsts[_PARENTHESES.sub('', noun.lower().replace('_', ' '))].add(first)
    return firsts


def may_mean(noun: str, first: str) -> bool:
    """Whether a noun can mean the synset with this first name, by LVIS for its own nouns.

    A wheel is not `'bicycle, bike, wheel, cycle'`, and a straw is no pale yellow. The first name
    itself always can, and so can any noun that LVIS does not have.
    """
    return first in _lvis_meanings().get(noun, {first}) or first == noun


@lru_cache(maxsize=1)
def load_nouns() -> Nouns:
    """The nouns of ImageNet-22k and of ImageNet-1k, which has one of its own."""
    synsets = [*read_synsets('imagenet22k'), *read_synsets('imagenet1k')]
    return Nouns(list({synset.wnid: synset for synset in synsets}.values()))


def read_synsets(subset: str) -> Iterator[Synset]:
    """The classes of `'imagenet1k'` or `'imagenet22k'` in their order, from timm."""
    from timm.data import ImageNetInfo

    info = ImageNetInfo(subset)
    for wnid in info.label_names():
        names = info.label_name_to_description(wnid)
        detailed = info.label_name_to_description(wnid, detailed=True)
        yield Synset(wnid, names, detailed.removeprefix(f'{names}: '))
