"""Which images there are to label, and what they are called in the result."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from os import PathLike
from pathlib import Path

from mmdet.apis.det_inferencer import IMG_EXTENSIONS

from ...datasets.files import on_disk
from ...vocabulary.names import read_lines
from ..input_list import is_image_name, walk_images


def list_images(source: str | PathLike, leave_out: str | PathLike | None = None) -> dict[str, Path]:
    """Find images.

    Args:
        source: A folder, searched with all folders in it for files that end like images, but not
            for hidden ones; a glob such as `'photos/*/*.jpg'` (`**` for any depth); one image; or a
            text file (`.txt`) with a path on each line, relative to the folder of the file.
        leave_out: A folder whose images do not count, such as that of pictures made of others.

    Returns:
        Paths by their names, in the order of these. A name is the path relative to the folder, to
        what comes before a glob's first wildcard, or to the list; with `/` on every system.

    Raises:
        FileNotFoundError: There is nothing of that name.
        ValueError: There is no image in it, or the list has a line twice.
    """
    root, paths = _find(source)
    if leave_out is not None:
        unwanted = Path(leave_out).resolve()
        paths = (path for path in paths if unwanted not in path.resolve().parents)
    # Both are absolute, so that there is a way from one to the other.
    root = Path(os.path.abspath(root))
    names = {}
    for path in paths:
        name = Path(os.path.relpath(os.path.abspath(path), root)).as_posix()
        if name in names:
            raise ValueError(f'{source} names {name} twice; leave one out')
        names[name] = path
    if not names:
        raise ValueError(
            f'{source} has no images. A folder or a glob is searched for '
            f'{", ".join(IMG_EXTENSIONS)}; other files can be named in a .txt file, one on a line.'
        )
    return dict(sorted(names.items()))


def _find(source: str | PathLike) -> tuple[Path, Iterator[Path]]:
    """The folder that names start in, and the images."""
    path = Path(source)
    if path.is_dir():
        return path, walk_images(path)
    if path.is_file():
        if path.suffix.lower() == '.txt':
            lines = read_lines(path)
            return path.parent, (Path(on_disk(str(path.parent / line))) for line in lines)
        return path.parent, iter([path])
    if not glob.has_magic(str(source)):
        raise FileNotFoundError(
            f'There is no folder, glob or file {source}. The working folder is {Path.cwd()}.'
        )
    fixed = []
    for part in path.parts:
        if glob.has_magic(part):
            break
        fixed.append(part)
    found = (Path(file) for file in glob.iglob(str(source), recursive=True))
    return Path(*fixed), (file for file in found if is_image_name(file.name) and file.is_file())
