"""From class names, as annotation files write them, to names that fit into a sentence."""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

_SEPARATOR = re.compile(r'_or_|[/,]')


def split_name(name: str) -> tuple[str, ...]:
    """The names in a class name: `'Sofa_or_couch'` holds `'sofa'` and `'couch'`.

    The name is lower-cased; `_or_`, `/` and `,` separate names; `_` becomes a space. Parentheses
    stay, as in LVIS's `bow_(weapon)`.

    Args:
        name: A class name as its annotation file has it.

    Returns:
        The names in their order, each once, without surrounding white space.

    Raises:
        TypeError: If `name` is not a string.
        ValueError: If no name is left.
    """
    if not isinstance(name, str):
        raise TypeError(f'a class name must be a string, got {name!r} ({type(name).__name__})')
    parts = _SEPARATOR.split(name.lower())
    cleaned = (' '.join(part.replace('_', ' ').split()) for part in parts)
    names = tuple(dict.fromkeys(part for part in cleaned if part))
    if not names:
        raise ValueError(f'the class name {name!r} is empty; give every class a name')
    return names


def novel_flags(classes: Sequence[str], novel: Sequence[str]) -> tuple[bool, ...]:
    """Which of the classes are novel.

    Args:
        classes: All names.
        novel: Those of the novel ones, in which `*` stands for anything (`'* digit nine'`); the
            others are base.

    Returns:
        One for each class.

    Raises:
        ValueError: If a novel name is not among the classes.
    """
    matches = {
        name: {own for own in classes if own == name or fnmatchcase(own, name)} for name in novel
    }
    unknown = [name for name, found in matches.items() if not found]
    if unknown:
        raise ValueError(
            f'novel has {", ".join(map(repr, unknown[:5]))}, which is no class; the classes begin '
            f'with {", ".join(map(repr, classes[:5]))}'
        )
    found = set().union(*matches.values())
    return tuple(name in found for name in classes)
