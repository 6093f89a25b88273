"""One vocabulary out of those of several data sets, by name."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .names import split_name
from .vocabulary import Vocabulary


@dataclass(frozen=True)
class JoinedVocabulary:
    """What several vocabularies have in common, and what each adds.

    Attributes:
        metainfo: `classes` (K names, those of the first source before what the second adds),
            `synonyms`, and `novel` and `prompts` where a source has them: what
            `Vocabulary.from_metainfo` reads. A class is base if any source has it as base or has
            no split, otherwise novel if any has it as novel.
        labels: Of each source the class in `metainfo` of each of its own.
        merged: A sentence for each class that was joined to one of another name.
        conflicts: A sentence for each class that shares a name with others and was joined to none,
            since it is not clear to which.
    """

    metainfo: dict
    labels: dict[str, tuple[int, ...]]
    merged: tuple[str, ...]
    conflicts: tuple[str, ...]


@dataclass
class _Joint:
    name: str
    parts: tuple[str, ...]
    names: dict[str, None] = field(default_factory=dict)
    novel: list[bool | None] = field(default_factory=list)
    prompts: dict[str, None] = field(default_factory=dict)


def join_vocabularies(
    sources: Mapping[str, Mapping], same: Mapping[str, Mapping[str, str | None]] | None = None
) -> JoinedVocabulary:
    """Join the vocabularies of data sets by the names of their classes.

    Two classes of different sources are one if their class names hold the same names (`split_name`
    takes them apart), or else if a name in the class name of one is in that of the other or among
    its synonyms, and no further class of either source has that in common with them. What one then
    has as synonyms the other gets too. Two classes of one source are never the same. A synonym that
    both have joins nothing, nor does a name that one has with a remark in parentheses
    (`'bow_(weapon)'`).

    Args:
        sources: Metainfo of each data set (`classes`, and where it has them `synonyms`, `novel`,
            `prompts`), by its name.
        same: For any source, names of its classes and what they are in the sources before it: a
            class name there, or None for none of these.

    Raises:
        ValueError: If a source has no classes or twice the same, or `same` names something else
            than a source, its classes and those before it, or keeps apart classes of one name.
    """
    same = same or {}
    _check(same, sources, 'sources')
    joint: list[_Joint] = []
    labels, merged, conflicts = {}, [], []
    for source, metainfo in sources.items():
        vocabulary = Vocabulary.from_metainfo(metainfo)
        given = same.get(source, {})
        _check(given, vocabulary.names, f'the classes of {source}')
        found, unclear = _matches(vocabulary, joint, given)
        conflicts += [f'{source}: {sentence}' for sentence in unclear]
        for label, name in enumerate(vocabulary.names):
            if label not in found:
                found[label] = len(joint)
                joint.append(_Joint(name, split_name(name)))
            entry = joint[found[label]]
            if entry.name != name:
                merged.append(f'{source}: {name!r} is {entry.name!r}')
            entry.names.update(dict.fromkeys(vocabulary.prompt_names[label]))
            entry.prompts.update(dict.fromkeys(vocabulary.prompts.get(name, ())))
            entry.novel.append(vocabulary.novel[label] if vocabulary.novel else False)
        labels[source] = tuple(found[label] for label in range(len(vocabulary)))
    return JoinedVocabulary(_metainfo(joint), labels, tuple(merged), tuple(conflicts))


def _matches(
    vocabulary: Vocabulary, joint: Sequence[_Joint], given: Mapping[str, str | None]
) -> tuple[dict[int, int], list[str]]:
    """Which classes of a source are in `joint` already, and sentences about those in doubt."""
    known = {entry.name: place for place, entry in enumerate(joint)}
    whole = {entry.parts: place for place, entry in enumerate(joint)}
    _check({name for name in given.values() if name is not None}, known, 'the classes before')
    found, left = {}, []
    for label, name in enumerate(vocabulary.names):
        place = known[given[name]] if given.get(name) else whole.get(split_name(name))
        if name in given and given[name] is None:
            if place is not None:
                raise ValueError(
                    f'{name!r} is to be another class than {joint[place].name!r}: rename it'
                )
        elif place is None:
            left.append(label)
        else:
            found[label] = place
    shared, alike = _sharing(vocabulary, joint, left, set(found.values()))
    claims = Counter(place for places in shared.values() for place in places)
    unclear = []
    for label in left:
        places = shared[label]
        if len(places) == 1 and claims[min(places)] == 1:
            found[label] = min(places)
        elif places or alike[label]:
            others = ', '.join(repr(joint[place].name) for place in sorted(places | alike[label]))
            name = vocabulary.names[label]
            unclear.append(f'{name!r} shares a name with {others} and stays a class of its own')
    return found, unclear


def _sharing(
    vocabulary: Vocabulary, joint: Sequence[_Joint], labels: Sequence[int], taken: set[int]
) -> tuple[dict[int, set[int]], dict[int, set[int]]]:
    """Places of those that share a name with each class, and of those that do without remarks."""
    by_part, by_any, by_bare = defaultdict(set), defaultdict(set), defaultdict(set)
    for place, entry in enumerate(joint):
        if place not in taken:
            for name in entry.parts:
                by_part[name].add(place)
                by_bare[_bare(name)].add(place)
            for name in entry.names:
                by_any[name].add(place)
    shared, alike = {}, {}
    for label in labels:
        parts, names = split_name(vocabulary.names[label]), vocabulary.prompt_names[label]
        shared[label] = {place for name in parts for place in by_any.get(name, ())}
        shared[label] |= {place for name in names for place in by_part.get(name, ())}
        alike[label] = {place for name in parts for place in by_bare.get(_bare(name), ())}
    return shared, alike


def _bare(name: str) -> str:
    return re.sub(r'\(.*?\)', '', name).strip()


def _metainfo(joint: Sequence[_Joint]) -> dict:
    synonyms = tuple(tuple(entry.names) for entry in joint)
    metainfo = dict(classes=tuple(entry.name for entry in joint), synonyms=synonyms)
    novel = tuple(
        False if False in entry.novel else (True if True in entry.novel else None)
        for entry in joint
    )
    if set(novel) != {False}:
        metainfo['novel'] = novel
    prompts = {entry.name: tuple(entry.prompts) for entry in joint if entry.prompts}
    return dict(metainfo, prompts=prompts) if prompts else metainfo


def _check(names, known, what: str) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(
            f'`same` has {unknown[0]!r}, which is none of {what}: '
            f'{", ".join(map(repr, list(known)[:5]))}{" ..." if len(known) > 5 else ""}'
        )
