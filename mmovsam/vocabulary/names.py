"""From class names, as annotation files write them, to names that fit into a sentence."""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

# Not the slash of 'w/o mask', 'km/h' or '1/2', nor the comma of '1,000'.
_SEPARATOR = re.compile(r'(?<!\d)(?<!\b[a-z])(?<!\b[a-z] )/(?! ?\d)(?! ?[a-z]\b)|(?<!\d),|,(?!\d)')


def plain_name(name: str) -> str:
    """A class name in lower case, with one space wherever there is white space or `_`."""
    return ' '.join(name.lower().replace('_', ' ').split())


def split_name(name: str) -> tuple[str, ...]:
    """The names in a class name: `'Sofa_or_couch'` holds `'sofa'` and `'couch'`.

    The name is lower-cased; `_or_`, `/` between words and `,` separate names; `_` becomes a space.
    Parentheses stay, as in LVIS's `bow_(weapon)`, and so do the slash of a single letter
    (`'w/o mask'`) and slash and comma of numbers.

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
    pieces = map(plain_name, name.lower().split('_or_'))
    parts = (part.strip(' /') for piece in pieces for part in _SEPARATOR.split(piece))
    names = tuple(dict.fromkeys(part for part in parts if part))
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
