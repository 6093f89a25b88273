"""Files of names and phrases that people write, or that their tools have."""

import json
from os import PathLike
from pathlib import Path

from ..fileio import read_text


def read_lines(path: str | PathLike) -> list[str]:
    """The lines of a text file that are not blank, without white space around them.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is of another encoding than `mmovsam.fileio.read_text` takes.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f'there is no text file {path} (the working folder is {Path.cwd()})'
        )
    return [line.strip() for line in read_text(path).split('\n') if line.strip()]


def read_names(path: str | PathLike) -> list[str]:
    """Class names of a text file with one on each line, or of a data set's own file.

    Args:
        path: Text; JSON, a list of names or an annotation file in COCO's layout, whose names come
            in the order of their ids; or YAML with `names`, as YOLO's `data.yaml` has them.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is of another encoding or has no names.
    """
    lines = read_lines(path)
    is_yaml = Path(path).suffix.lower() in ('.yaml', '.yml')
    if not is_yaml and ''.join(lines)[:1] not in ('{', '['):
        return lines
    try:
        content = _read_yaml(read_text(path)) if is_yaml else json.loads(read_text(path))
    except ValueError as error:
        raise ValueError(f'{path} is truncated or no JSON or YAML ({error})') from None
    names = content
    if isinstance(content, dict):
        names = content.get('names', content.get('categories'))
    if isinstance(names, dict):
        names = [names[key] for key in sorted(names, key=_number)]
    elif isinstance(names, list) and names and all(isinstance(each, dict) for each in names):
        names = [
            each.get('name') for each in sorted(names, key=lambda each: _number(each.get('id')))
        ]
    if not names or not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        raise ValueError(
            f'{path} has no list of names: expected one on each line, a JSON list, an annotation '
            'file with `categories`, or a data.yaml with `names`'
        )
    return names


def _number(key) -> tuple:
    """Sorts numbers, in text or not, before anything else."""
    return (0, int(key), '') if str(key).isdecimal() else (1, 0, str(key))


def _read_yaml(text: str):
    import yaml  # MMEngine brings it

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(' '.join(str(error).split())) from None
