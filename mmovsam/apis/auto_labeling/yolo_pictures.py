"""The pictures of a folder that Ultralytics' trainer reads."""

from __future__ import annotations

import contextlib
import os
import shutil
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath

import numpy as np

from ...fileio import atomic_path
from ...logs import warn

JPEG_START, JPEG_END = b'\xff\xd8', b'\xff\xd9'


def picture_files(out: Path, images: Mapping[str, Path]) -> dict[str, Path]:
    """Where YOLO's folder `out` has the pictures of `images`; without those that lie there."""
    files = {name: out / 'images' / PurePosixPath(name) for name in images}
    return {
        name: file
        for name, file in files.items()
        if not (file.exists() and file.samefile(images[name]))
    }


def link_or_copy(source: Path, target: Path) -> None:
    """Make a picture appear at another place: by a link, or a copy where that is better.

    Ultralytics rewrites JPEG files that do not end as they should; the original must not change.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    data = np.memmap(source, np.uint8, 'r')
    if bytes(data[:2]) != JPEG_START or bytes(data[-2:]) == JPEG_END:
        for link in (os.link, os.symlink):  # not on every file system, or from disk to disk
            with contextlib.suppress(OSError):
                link(source.resolve(), target)
                return
    with atomic_path(target) as path:
        shutil.copyfile(source, path)


def split(out: Path, names: Collection[str]) -> dict[str, list[str]]:
    """The pictures that `train.txt` and `val.txt` list.

    A tenth, at least one, is for validation, and mostly stays there when there are more pictures.
    A single one is in both. Those whose names cannot stand on a line are left out, says the log.
    """
    listed = [
        name
        for name in names
        if name.splitlines() == [name] and name.encode(errors='ignore').decode() == name
    ]
    if len(listed) < len(names):
        warn(
            f'{out}: {len(names) - len(listed)} images are in neither train.txt nor val.txt: their '
            'names have line breaks or are no text. Rename them to train on them.'
        )
    by_chance = sorted(listed, key=lambda name: zlib.crc32(name.encode()))
    validation = set(by_chance[: max(1, len(listed) // 10)])
    training = [name for name in listed if name not in validation]
    return {'train.txt': training or listed, 'val.txt': sorted(validation)}
