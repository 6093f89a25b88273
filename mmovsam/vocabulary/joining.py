"""One vocabulary from those of several datasets."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from .names import split_name
from .vocabulary import Vocabulary


@dataclass(frozen=True)
class JoinedVocabulary:
    """The union of several vocabularies.

    Attributes:
        metainfo: `classes` (K names, those of the first source first), `synonyms`, and `novel` and
            `prompts` where a source has them, for `Vocabulary.from_metainfo`. A class is base if
            any source has it as base or has no split, otherwise novel if any has it as novel.
        labels: For each source, the joint label of each of its classes.
        merged: A sentence for each class that was joined to one of another name.
        conflicts: A sentence for each class that shares a name with others, but not unambiguously,
            and was joined to none.
    """

    metainfo: dict
    labels: dict[str, tuple[int, ...]]
    merged: tuple[str, ...]
    conflicts: tuple[str, ...]


@dataclass
class _JointClass:
    name: str
    name_parts: tuple[str, ...]
    synonyms: dict[str, None] = field(default_factory=dict)  # dicts as ordered sets
    novel: list[bool | None] = field(default_factory=list)
    prompts: dict[str, None] = field(default_factory=dict)


def join_vocabularies(
    sources: Mapping[str, Mapping], same: Mapping[str, Mapping[str, str | None]] | None = None
) -> JoinedVocabulary:
    """Join the vocabularies of datasets by the names of their classes.

    Two classes of different sources become one if their class names hold the same names
    (`split_name`), or else if a name in the class name of one is a name or synonym of the other,
    and no further class of either source has that in common with them. The synonyms of joined
    classes are united. Classes of one source are never joined. A synonym of both joins nothing, nor
    does a name that one has with a remark in parentheses (`'bow_(weapon)'`).

    Args:
        sources: Metainfo by dataset name (`classes`, and optionally `synonyms`, `novel`,
            `prompts`).
        same: For any source, names of its classes and the class of an earlier source that each is
            joined to, or None to keep it apart.

    Raises:
        ValueError: If a source has no classes or the same class twice, or `same` names an unknown
            source or class, or keeps apart classes of one name.
    """
    same = same or {}
    _check_known(same, sources, 'sources')
    joint: list[_JointClass] = []
    labels, merged, conflicts = {}, [], []
    for source, metainfo in sources.items():
        vocabulary = Vocabulary.from_metainfo(metainfo)
        overrides = same.get(source, {})
        _check_known(overrides, vocabulary.names, f'the classes of {source}')
        joint_labels, ambiguous = _match(vocabulary, joint, overrides)
        conflicts += [f'{source}: {sentence}' for sentence in ambiguous]
        for label, name in enumerate(vocabulary.names):
            if label not in joint_labels:
                joint_labels[label] = len(joint)
                joint.append(_JointClass(name, split_name(name)))
            entry = joint[joint_labels[label]]
            if entry.name != name:
                merged.append(f'{source}: {name!r} is {entry.name!r}')
            entry.synonyms.update(dict.fromkeys(vocabulary.prompt_names[label]))
            entry.prompts.update(dict.fromkeys(vocabulary.prompts.get(name, ())))
            entry.novel.append(vocabulary.novel[label] if vocabulary.novel else False)
        labels[source] = tuple(joint_labels[label] for label in range(len(vocabulary)))
    return JoinedVocabulary(_metainfo(joint), labels, tuple(merged), tuple(conflicts))


def _match(
    vocabulary: Vocabulary, joint: Sequence[_JointClass], overrides: Mapping[str, str | None]
) -> tuple[dict[int, int], list[str]]:
    """Joint labels of those classes of a source that are in `joint`, and its ambiguous classes."""
    by_name = {entry.name: index for index, entry in enumerate(joint)}
    by_parts = {entry.name_parts: index for index, entry in enumerate(joint)}
    targets = {name for name in overrides.values() if name is not None}
    _check_known(targets, by_name, 'the classes before')
    joint_labels, unmatched = {}, []
    for label, name in enumerate(vocabulary.names):
        target = overrides.get(name)
        index = by_name[target] if target else by_parts.get(split_name(name))
        if name in overrides and target is None:
            if index is not None:
                raise ValueError(
                    f'{name!r} is to be another class than {joint[index].name!r}: rename it'
                )
        elif index is None:
            unmatched.append(label)
        else:
            joint_labels[label] = index
    candidates, similar = _candidates(vocabulary, joint, unmatched, set(joint_labels.values()))
    claims = Counter(index for indices in candidates.values() for index in indices)
    ambiguous = []
    for label in unmatched:
        indices = candidates[label]
        if len(indices) == 1 and claims[min(indices)] == 1:
            joint_labels[label] = min(indices)
        elif indices or similar[label]:
            names = ', '.join(repr(joint[index].name) for index in sorted(indices | similar[label]))
            name = vocabulary.names[label]
            ambiguous.append(f'{name!r} shares a name with {names} and stays a class of its own')
    return joint_labels, ambiguous


def _candidates(
    vocabulary: Vocabulary, joint: Sequence[_JointClass], labels: Sequence[int], matched: set[int]
) -> tuple[dict[int, set[int]], dict[int, set[int]]]:
    """For each label the joint classes that share a name, and those that do without remarks."""
    by_part, by_synonym, by_bare = defaultdict(set), defaultdict(set), defaultdict(set)
    for index, entry in enumerate(joint):
        if index not in matched:
            for name in entry.name_parts:
                by_part[name].add(index)
                by_bare[_without_remark(name)].add(index)
            for name in entry.synonyms:
                by_synonym[name].add(index)
    shared, similar = {}, {}
    for label in labels:
        parts, names = split_name(vocabulary.names[label]), vocabulary.prompt_names[label]
        shared[label] = {index for name in parts for index in by_synonym.get(name, ())}
        shared[label] |= {index for name in names for index in by_part.get(name, ())}
        similar[label] = {i for name in parts for i in by_bare.get(_without_remark(name), ())}
    return shared, similar


def _without_remark(name: str) -> str:
    return re.sub(r'\(.*?\)', '', name).strip()


def _metainfo(joint: Sequence[_JointClass]) -> dict:
    metainfo = dict(
        classes=tuple(entry.name for entry in joint),
        synonyms=tuple(tuple(entry.synonyms) for entry in joint),
    )
    novel = tuple(
        False if False in entry.novel else (True if True in entry.novel else None)
        for entry in joint
    )
    if set(novel) != {False}:
        metainfo['novel'] = novel
    prompts = {entry.name: tuple(entry.prompts) for entry in joint if entry.prompts}
    return dict(metainfo, prompts=prompts) if prompts else metainfo


def _check_known(names: Collection[str], known: Collection[str], what: str) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(
            f'`same` has {unknown[0]!r}, which is none of {what}: '
            f'{", ".join(map(repr, list(known)[:5]))}{" ..." if len(known) > 5 else ""}'
        )
