"""WordNet's nouns for things, with their meanings, definitions and hypernyms."""

from __future__ import annotations

import gzip
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

NOUNS_FILE = Path(__file__).with_name('wordnet_nouns.json.gz')
"""Written by dev/build_wordnet.py."""
_LVIS_FILE = Path(__file__).with_name('lvis_v1.json')
_PERSONS = ('n09570298', 'n10788852')  # ids from, to; many names are slang, such as `cow`
_PARENTHESES = re.compile(r'\s*\(.*?\)')
_PLURALS = (('s', ''), ('es', ''), ('ies', 'y'), ('men', 'man'))
"""Regular endings and those of the singular."""


class Synset(NamedTuple):
    """A meaning of nouns.

    Attributes:
        wnid: WordNet's id, such as `'n02012849'`.
        names: The nouns with this meaning, in WordNet's order: `'sofa, couch, lounge'`.
        definition: WordNet's definition.
        hypernyms: The ids of the synsets that it is a direct kind of.
    """

    wnid: str
    names: str
    definition: str
    hypernyms: tuple[str, ...] = ()

    @property
    def description(self) -> str:
        """Names and definition in one text."""
        return f'{self.names}: {self.definition}'

    @property
    def nouns(self) -> list[str]:
        """Its names, in lower case."""
        return self.names.lower().split(', ')

    @property
    def is_person(self) -> bool:
        """Whether it is a kind of person."""
        return _PERSONS[0] <= self.wnid <= _PERSONS[1]


class Nouns:
    """Synsets by noun and by id; see `load_nouns`.

    Args:
        synsets: In the order of their ids.
        order: Ids of the meanings of nouns with several, the most frequent one first.
        plurals: Irregular plurals and their singulars.
    """

    def __init__(
        self,
        synsets: Sequence[Synset],
        order: Mapping[str, Sequence[str]] | None = None,
        plurals: Mapping[str, str] | None = None,
    ) -> None:
        self._by_id = {synset.wnid: synset for synset in synsets}
        self._plurals = plurals or {}
        self._by_name: dict[str, list[Synset]] = defaultdict(list)
        for synset in synsets:
            for name in synset.nouns:
                self._by_name[name].append(synset)
        for noun, wnids in (order or {}).items():
            self._by_name[noun].sort(key=lambda synset, ids=wnids: ids.index(synset.wnid))

    def __iter__(self) -> Iterator[Synset]:
        return iter(self._by_id.values())

    def synset(self, wnid: str) -> Synset | None:
        """The synset with this id, else None."""
        return self._by_id.get(wnid)

    def senses(self, name: str) -> list[Synset]:
        """The meanings of a lower-case noun, the most frequent one first.

        A noun of LVIS has the meaning that LVIS gives it, so `'bow (weapon)'` has one of those of
        `'bow'`. Parentheses of other nouns are ignored. A plural also has the meanings of its
        singular. Kinds of persons count only if the most frequent meaning is one.
        """
        bare = _PARENTHESES.sub('', name)
        forms = (name, bare, *self._singulars(bare))
        by_lvis = next(filter(None, map(_lvis_meanings().get, forms)), ())
        found = [senses for form in forms if (senses := self._by_name.get(form))]
        for senses in found:
            if meant := [sense for sense in senses if sense.wnid in by_lvis]:
                return meant
        if not found or found[0][0].is_person:
            return found[0] if found else []
        return [sense for sense in found[0] if not sense.is_person]

    def _singulars(self, noun: str) -> Iterator[str]:
        if noun in self._plurals:
            yield self._plurals[noun]
        for ending, singular in _PLURALS:
            if noun.endswith(ending):
                yield noun.removesuffix(ending) + singular

    def hypernyms(self, synset: Synset) -> Iterator[Synset]:
        """All synsets that one is a kind of, directly or not, the nearest ones first."""
        seen, latest = {synset.wnid}, [synset]
        while latest:
            wnids = dict.fromkeys(wnid for each in latest for wnid in each.hypernyms)
            latest = [self._by_id[wnid] for wnid in wnids if wnid not in seen]
            seen |= wnids.keys()
            yield from latest


@lru_cache(maxsize=1)
def read_lvis() -> list[tuple[str, str, list[str], str | None]]:
    """LVIS's categories: name, frequency, synonyms, and the id of their synset if there is one."""
    return json.loads(_LVIS_FILE.read_text(encoding='utf-8'))['categories']


@lru_cache(maxsize=1)
def _lvis_meanings() -> dict[str, set[str]]:
    """The ids of what LVIS means by each of its nouns, with and without parentheses."""
    meanings = defaultdict(set)
    for name, _, synonyms, wnid in read_lvis():
        for noun in (name, *synonyms) if wnid else ():
            noun = noun.lower().replace('_', ' ')
            meanings[noun].add(wnid)
            meanings[_PARENTHESES.sub('', noun)].add(wnid)
    return dict(meanings)


def may_mean(noun: str, wnid: str) -> bool:
    """Whether a noun can mean a synset, by LVIS for its own nouns.

    A wheel is not `'bicycle, bike, wheel, cycle'`, and a straw is no pale yellow.
    """
    return wnid in _lvis_meanings().get(noun, {wnid})


@lru_cache(maxsize=1)
def load_nouns() -> Nouns:
    """WordNet's nouns for things, the classes of ImageNet and LVIS, and their hypernyms."""
    content = json.loads(gzip.decompress(NOUNS_FILE.read_bytes()))
    synsets = [
        Synset(wnid, names, definition, tuple(hypernyms))
        for wnid, names, definition, hypernyms in content['synsets']
    ]
    return Nouns(synsets, content['order'], content['plurals'])


def imagenet_ids(subset: str) -> list[str]:
    """The ids of the classes of `'imagenet1k'` or `'imagenet22k'` in their order, from timm."""
    from timm.data import ImageNetInfo

    return ImageNetInfo(subset).label_names()


def read_synsets(subset: str) -> list[Synset]:
    """The classes of `'imagenet1k'` or `'imagenet22k'` in their order."""
    nouns = load_nouns()
    return [nouns.synset(wnid) for wnid in imagenet_ids(subset)]
