"""Which images a file of proposals means."""

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
    """Find for each image what a file of proposals, `source`, calls it.

    With a COCO file, an id means the image that has its `file_name` there. Without one, text is a
    file name, and a number is the one in the file's name: 139 means `000000000139.jpg`. File names
    may come with more or fewer folders than the images' and without an ending: `val/1.jpg` means
    `data/val/1.jpg`, and so do `1.jpg` and `1`.

    Returns:
        Keys by names, without the images that have no key. How many have none, and how many keys
        mean no image, is logged.

    Raises:
        ValueError: The COCO file has no `images`, no key means an image, or a key may mean several,
            or an image may be meant by several.
    """
    paths = defaultdict(list)  # by file names, stems, and numbers
    for name in names:
        path = _path(name)
        numbers = {int(path.stem)} if path.stem.isdecimal() else set()
        for part in {path.name, path.stem} | numbers:
            paths[part].append((path, name))
    file_names = None if annotations is None else _file_names(annotations)
    found: dict[str, int | str] = {}
    strangers = []
    for key in keys:
        meant = _meant(paths, key if file_names is None else file_names.get(key))
        if len(meant) > 1:
            raise ValueError(
                f'{source}: its image {key!r} may be {" or ".join(meant[:3])}; {_REMEDY}, or '
                'the images one folder after the other'
            )
        if not meant:
            strangers.append(key)
        elif found.setdefault(meant[0], key) != key:
            raise ValueError(
                f'{source}: {found[meant[0]]!r} and {key!r} may both be {meant[0]}; {_REMEDY}'
            )
    without = [name for name in names if name not in found]
    message = (
        f'{source}: {len(found)} of {len(names)} images have proposals in it'
        + (f', but not {", ".join(without[:3])}' if without else '')
        + f'; {len(strangers)} of its images are not among them'
        + (f', such as {strangers[:3]}' if strangers else '')
    )
    if not found:
        raise ValueError(f'{message}; {_REMEDY}, or the images that it was made on')
    if without or strangers:
        warn(message)
    return found


def _meant(
    paths: Mapping[int | str, Sequence[tuple[PurePosixPath, str]]], key: int | str | None
) -> list[str]:
    """All images that a number, or a file name with any of its folders, may mean."""
    if not isinstance(key, str):
        return [name for _, name in paths.get(key, ())]
    *folders, file = _path(key).parts or ('',)
    return [
        name
        for path, name in paths.get(file, ())
        if all(a == b for a, b in zip(path.parts[-2::-1], folders[::-1]))
    ]


def _path(name: str) -> PurePosixPath:
    """A name whatever system spells it: with backslashes, or with decomposed letters."""
    return PurePosixPath(unicodedata.normalize('NFC', name).replace('\\', '/'))


def _file_names(annotations: str | PathLike) -> Mapping[int | str, str]:
    """File names by ids."""
    content = read_json(annotations, "It is to be a file in COCO's layout.")
    try:  # LVIS has addresses in place of names
        return {i['id']: str(i.get('file_name') or i['coco_url']) for i in content['images']}
    except (TypeError, KeyError, AttributeError):
        raise ValueError(
            f"{annotations} has no `images` with id and file_name; give a file in COCO's layout"
        ) from None
