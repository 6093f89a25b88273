"""Class names, the files that list them, and prompt templates."""

from __future__ import annotations

import csv
import json
import re
import reprlib
import unicodedata
from collections.abc import Sequence
from fnmatch import fnmatchcase
from os import PathLike
from pathlib import Path

import yaml  # MMEngine brings it

from ..fileio import read_text, unique_keys
from ..validation import require_file

# Not the slash of 'w/o mask', 'km/h' or '1/2', nor the comma of '1,000'.
_SEPARATOR = re.compile(r'(?<!\d)(?<!\b[a-z])(?<!\b[a-z] )/(?! ?\d)(?! ?[a-z]\b)|(?<!\d),|,(?!\d)')

_SIZES = ('small', 'medium', 'large')

# Templates, order and full stops are those of OVSAM's released text classifiers.
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
_KEYS = 'names', 'categories', 'classes', 'labels', 'id2label'
_HEADINGS = ('name', 'names', 'class', 'classes', 'class_name', 'classname', 'label', 'displayname',
             'display_name', 'category')  # fmt: skip
_LIST_ITEM = re.compile(r"""[-*•] |(["']).*\1,?$|.*,$""")
_ID = re.compile(r'(\d+|n\d{8}|/[mgt]/\w+)["\s:;,.)]+(?=\S)')
"""A number, or an id of WordNet or Freebase, before something else."""
_ARTICLE = re.compile(r'^(?:a|an|the)\s+')
_OPEN_CLIP_TEMPLATES = ('openai_imagenet', 'simple_imagenet')


def plain_name(name: str) -> str:
    """A class name in lower case and NFC, with single spaces for white space and `_`."""
    name = unicodedata.normalize('NFC', name.lower())
    return ' '.join(re.sub('[\u200b\ufeff]', '', name).replace('_', ' ').split())


def with_article(name: str) -> str:
    """A lower-case name with an article: `'a cup'`."""
    return name if _ARTICLE.match(name) else f'a {name}'


def without_article(name: str) -> str:
    """A lower-case name without its article."""
    return _ARTICLE.sub('', name)


def split_name(name: str) -> tuple[str, ...]:
    """The names in a class name, each once: `'Sofa_or_couch'` holds `'sofa'` and `'couch'`.

    The name is lower-cased; `_or_`, `/` between words and `,` separate names; `_` becomes a space.
    Parentheses are kept, as in LVIS's `bow_(weapon)`, and so are slashes after a single letter
    (`'w/o mask'`) and the slashes and commas of numbers.

    Raises:
        TypeError: If `name` is not a string.
        ValueError: If no name is left.
    """
    if not isinstance(name, str):
        raise TypeError(f'a class name must be a string, got {name!r} ({type(name).__name__})')
    alternatives = map(plain_name, name.lower().split('_or_'))
    names = (part.strip(' /') for text in alternatives for part in _SEPARATOR.split(text))
    names = tuple(dict.fromkeys(filter(None, names)))
    if not names:
        raise ValueError(f'the class name {name!r} is empty; give every class a name')
    return names


def novel_flags(classes: Sequence[str], novel: Sequence[str]) -> tuple[bool, ...]:
    """For each class whether it is novel, by names or patterns such as `'* digit nine'`.

    Raises:
        ValueError: If a novel name is not among the classes.
    """
    matched = set()
    for pattern in novel:
        matches = {name for name in classes if name == pattern or fnmatchcase(name, pattern)}
        if not matches:
            raise ValueError(
                f'novel has {pattern!r}, which is no class; these begin with {[*classes[:5]]}'
            )
        matched |= matches
    return tuple(name in matched for name in classes)


def find_templates(templates: str | PathLike | Sequence[str]) -> tuple[str, ...]:
    """Prompt templates, each with one `{}` for the name.

    Args:
        templates: `'ovsam'` (the 14 of OVSAM), `'simple'` (one), `'openai_imagenet'` (the 80 of
            CLIP's ImageNet evaluation), `'simple_imagenet'` (7 of them); or a text file with a
            sentence a line; or the sentences.
    """
    if isinstance(templates, (str, PathLike)):
        if templates in _TEMPLATES:
            return _TEMPLATES[templates]
        if templates in _OPEN_CLIP_TEMPLATES:
            import open_clip

            functions = getattr(open_clip, f'{templates.upper()}_TEMPLATES')
            return tuple(function('{}') for function in functions)
        if not Path(templates).is_file():
            raise ValueError(
                f'there are no templates {str(templates)!r}: choose one of '
                f'{", ".join((*_TEMPLATES, *_OPEN_CLIP_TEMPLATES))}, or give a text file or a list '
                'of sentences with {} for the name'
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


def read_lines(path: str | PathLike) -> list[str]:
    """The stripped non-blank lines of a text file."""
    text = read_text(require_file(path, 'text file'))
    return [line.strip() for line in text.split('\n') if line.strip()]


def read_names(path: str | PathLike) -> list[str]:
    """Class names of a text file with one on each line, or of a file for `read_structured_names`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It has no list of names.
    """
    names = read_structured_names(path)
    return read_lines(path) if names is None else names


def read_structured_names(path: str | PathLike) -> list[str] | None:
    """Class names of a structured file, None for a text file of names.

    Structured are JSON (a list of names, an annotation file in COCO's layout, or a mapping of
    numbers and names such as `id2label`), YAML with `names`, such as YOLO's `data.yaml`, and tables
    (`.csv`, `.tsv`) with a heading such as `name`.

    Raises:
        ValueError: It is another kind of file, or lines begin with numbers or ids.
    """
    text = read_text(require_file(path, 'text file')).strip()
    suffix = Path(path).suffix.lower()
    is_yaml = suffix in ('.yaml', '.yml')
    if not is_yaml and text[:1] not in ('{', '['):
        return _names_of_lines(path, text, suffix in ('.csv', '.tsv'))
    try:
        names = yaml.safe_load(text) if is_yaml else json.loads(text, object_pairs_hook=unique_keys)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        reason = ' '.join(str(error).split())
        raise ValueError(f'{path} is truncated or no JSON or YAML ({reason})') from None
    if isinstance(names, dict):
        names = next((names[key] for key in _KEYS if key in names), names)
    if isinstance(names, dict):
        numbers = sorted(names.values(), key=_number_first)
        if numbers in ([*range(len(names))], [*range(1, len(names) + 1)]):  # label2id
            names = {number: name for name, number in names.items()}
        names = [names[key] for key in sorted(names, key=_number_first) if str(key).isdecimal()]
    elif isinstance(names, list) and all(isinstance(entry, dict) for entry in names):
        categories = sorted(names, key=lambda category: _number_first(category.get('id')))
        names = [category.get('name') for category in categories]
    if not names or not isinstance(names, list):
        raise ValueError(
            f'{path} has no list of names: expected one on each line, a JSON list, an annotation '
            'file with `categories`, or a data.yaml with `names`'
        )
    for name in names:
        if not isinstance(name, str):
            raise ValueError(
                f'{path} has no list of names: {reprlib.repr(name)} is none. If it is one, put it '
                'in quotes'
            )
    return names


def _names_of_lines(path: str | PathLike, text: str, is_table: bool) -> list[str] | None:
    lines = text.split('\n')
    first = lines[0]
    if first.startswith('<') or re.match(r'\w+ *\{', first):
        raise ValueError(
            f'{path} has no list of names, but begins with {first!r:.60}: write a text file with a '
            'name on each line'
        )
    if is_table:
        delimiter = max(',;\t', key=first.count)
        try:
            rows = list(csv.reader(lines, delimiter=delimiter, skipinitialspace=True))
        except csv.Error as error:
            raise ValueError(f'{path} has no list of names: it is no table ({error})') from None
        headings = [cell.strip().lower() for cell in rows[0]] if rows else []
        heading = next((word for word in _HEADINGS if word in headings), None)
        if heading:
            column = headings.index(heading)
            names = (row[column].strip() for row in rows[1:] if len(row) == len(headings))
            return list(filter(None, names))
    lines = [line.strip() for line in lines if line.strip()]
    matches = [_ID.match(line.strip(' "')) for line in lines]
    if len(matches) > 1 and all(matches):
        ids = [match[1] for match in matches]
        start = int(ids[0]) if ids[0].isdecimal() else None
        if start is None or ids == [str(number) for number in range(start, start + len(ids))]:
            raise ValueError(
                f'{path} has a number or id before each name, such as {first!r:.60}: leave them '
                'out, or give a .csv with a heading `name`; if they belong to names, a JSON list'
            )
    if len(lines) > 1 and all(map(_LIST_ITEM.match, lines[:-1])):
        raise ValueError(
            f'{path} has a dash, quotes or a comma around each name, such as {first!r:.60}: leave '
            'them out'
        )
    return None


def _number_first(key) -> tuple:
    """A sort key that puts numbers, as text or not, before everything else."""
    return (0, int(key), '') if str(key).isdecimal() else (1, 0, str(key))
