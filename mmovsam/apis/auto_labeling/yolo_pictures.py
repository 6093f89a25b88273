"""The pictures of a data set for Ultralytics' trainer."""

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
    """Paths of `images` in YOLO's folder `out`, without images that lie there already."""
    files = {name: out / 'images' / PurePosixPath(name) for name in images}
    return {
        name: file
        for name, file in files.items()
        if not (file.exists() and file.samefile(images[name]))
    }


def link_or_copy(source: Path, target: Path) -> None:
    """Link a picture to another path, or copy it if links are not possible.

    JPEG files without an end marker are copied too, because Ultralytics rewrites them.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    data = np.memmap(source, np.uint8, 'r')
    if bytes(data[:2]) != JPEG_START or bytes(data[-2:]) == JPEG_END:
        for link in (os.link, os.symlink):  # not on every file system, or across disks
            with contextlib.suppress(OSError):
                link(source.resolve(), target)
                return
    with atomic_path(target) as path:
        shutil.copyfile(source, path)


def train_val_split(out: Path, names: Collection[str]) -> dict[str, list[str]]:
    """The pictures of `train.txt` and `val.txt`.

    A tenth, at least one, is for validation, chosen by a hash of the name. A single one is in both.
    Pictures whose names cannot be written on a line are left out with a warning.
    """
    valid = [
        name
        for name in names
        if name.splitlines() == [name] and name.encode(errors='ignore').decode() == name
    ]
    if len(valid) < len(names):
        warn(
            f'{out}: {len(names) - len(valid)} images are in neither train.txt nor val.txt: their '
            'names have line breaks or are no text. Rename them to train on them.'
        )
    shuffled = sorted(valid, key=lambda name: zlib.crc32(name.encode()))
    val = set(shuffled[: max(1, len(valid) // 10)])
    train = [name for name in valid if name not in val]
    return {'train.txt': train or valid, 'val.txt': sorted(val)}
