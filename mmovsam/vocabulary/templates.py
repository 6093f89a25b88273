"""Sentences that a name is put into before CLIP reads it; `{}` is where the name goes."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from .text_files import read_lines

_SIZES = ('small', 'medium', 'large')

# The templates and their order are those of OVSAM's released text classifiers. Some end in a full
# stop and some do not: that is part of what the text tower was given.
OVSAM_TEMPLATES = (
    'a photo of a {}.',
    'This is a photo of a {}',
    'There is a {} in the scene',
    'There is the {} in the scene',
    'a photo of a {} in the scene',
    *(f'a photo of a {size} {{}}.' for size in _SIZES),
    *(f'This is a photo of a {size} {{}}.' for size in _SIZES),
    *(f'There is a {size} {{}} in the scene.' for size in _SIZES),
)

SIMPLE_TEMPLATES = ('a photo of a {}.',)

_TEMPLATES = {'ovsam': OVSAM_TEMPLATES, 'simple': SIMPLE_TEMPLATES}
_OF_OPEN_CLIP = ('openai_imagenet', 'simple_imagenet')


def find_templates(templates: str | PathLike | Sequence[str]) -> tuple[str, ...]:
    """Templates by their name, from a file, or as a list.

    Args:
        templates: `'ovsam'` (the 14 of OVSAM), `'simple'` (one), `'openai_imagenet'` (the 80 of
            CLIP's ImageNet evaluation), `'simple_imagenet'` (7 of them); or a text file with a
            sentence a line; or the sentences. Each sentence has one `{}` for the name.

    Raises:
        TypeError: If it is no list of strings.
        ValueError: If the name is unknown, there is no sentence, or one has not exactly one `{}`.
    """
    if isinstance(templates, (str, PathLike)):
        if templates in _TEMPLATES:
            return _TEMPLATES[templates]
        if templates in _OF_OPEN_CLIP:
            import open_clip

            # functions of the name
            fills = getattr(open_clip, f'{templates.upper()}_TEMPLATES')
            return tuple(fill('{}') for fill in fills)
        if not Path(templates).is_file():
            raise ValueError(
                f'there are no templates {str(templates)!r}: choose one of '
                f'{", ".join((*_TEMPLATES, *_OF_OPEN_CLIP))}, or give a text file or a list of '
                'sentences with {} for the name'
            )
        templates = read_lines(templates)
    if not isinstance(templates, Sequence):
        raise TypeError(f'templates must be a list of sentences, got {templates!r}')
    wrong = [t for t in templates if not isinstance(t, str) or t.count('{}') != 1]
    if wrong or not templates:
        raise ValueError(
            f'templates must be sentences with one {{}} for the name, got {wrong or "none"}'
        )
    return tuple(templates)
