"""Matches the images of a file of proposals to those to label."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from os import PathLike
from pathlib import PurePosixPath

from ...fileio import read_json
from ...logs import warn

_REMEDY = 'give the COCO file (annotations=...) with the `images` that they were made on'


def match_images(
    keys: Collection[int | str],
    names: Sequence[str],
    source: str | PathLike,
    annotations: str | PathLike | None = None,
) -> dict[str, int | str]:
    """Find the key of each image in a file of proposals, `source`.

    With a COCO file, keys are its image ids. Without one, a string is a file name, and a number the
    one in a file name: 139 matches `000000000139.jpg`. File names match with more or fewer folders
    and without suffix: `val/1.jpg`, `1.jpg` and `1` all match `data/val/1.jpg`.

    Returns:
        Keys by names. A warning counts images without a key, and keys that match no image.

    Raises:
        ValueError: The COCO file has no `images`, no key matches, a key matches several images, or
            several keys match an image.
    """
    index = defaultdict(list)  # paths and names by file name, stem, and number
    for name in names:
        path = _normalized(name)
        numbers = {int(path.stem)} if path.stem.isdecimal() else set()
        for token in {path.name, path.stem} | numbers:
            index[token].append((path, name))
    file_names = None if annotations is None else _file_names(annotations)
    matches: dict[str, int | str] = {}
    unmatched = []
    for key in keys:
        candidates = _candidates(index, key if file_names is None else file_names.get(key))
        if len(candidates) > 1:
            raise ValueError(
                f'{source}: its image {key!r} may be {" or ".join(candidates[:3])}; {_REMEDY}, or '
                'the images one folder after the other'
            )
        if not candidates:
            unmatched.append(key)
            continue
        name = candidates[0]
        if matches.setdefault(name, key) != key:
            raise ValueError(
                f'{source}: {matches[name]!r} and {key!r} may both be {name}; {_REMEDY}'
            )
    missing = [name for name in names if name not in matches]
    message = (
        f'{source}: {len(matches)} of {len(names)} images have proposals in it'
        + (f', but not {", ".join(missing[:3])}' if missing else '')
        + f'; {len(unmatched)} of its images are not among them'
        + (f', such as {unmatched[:3]}' if unmatched else '')
    )
    if not matches:
        raise ValueError(f'{message}; {_REMEDY}, or the images that it was made on')
    if missing or unmatched:
        warn(message)
    return matches


def _candidates(
    index: Mapping[int | str, Sequence[tuple[PurePosixPath, str]]], key: int | str | None
) -> list[str]:
    """All images that a number, or a file name with or without folders, matches."""
    if not isinstance(key, str):
        return [name for _, name in index.get(key, ())]
    *folders, file = _normalized(key).parts or ('',)
    return [
        name
        for path, name in index.get(file, ())
        if all(a == b for a, b in zip(path.parts[-2::-1], folders[::-1]))
    ]


def _normalized(name: str) -> PurePosixPath:
    """A path with `/` and composed letters, as not all systems write it."""
    return PurePosixPath(unicodedata.normalize('NFC', name).replace('\\', '/'))


def _file_names(annotations: str | PathLike) -> Mapping[int | str, str]:
    """File names by image ids."""
    content = read_json(annotations, "It is to be a file in COCO's layout.")
    try:  # LVIS has URLs in place of file names
        return {i['id']: str(i.get('file_name') or i['coco_url']) for i in content['images']}
    except (TypeError, KeyError, AttributeError):
        raise ValueError(
            f"{annotations} has no `images` with id and file_name; give a file in COCO's layout"
        ) from None
