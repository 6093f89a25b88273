"""From class names, as annotation files write them, to names that fit into a sentence."""

import re

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
