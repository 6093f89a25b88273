"""Lists the images of files, folders, globs and URLs, and names the files of their results."""

from __future__ import annotations

import glob
import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from mmdet.apis.det_inferencer import IMG_EXTENSIONS
from mmengine.fileio import get_file_backend, get_local_path

from ..datasets.files import on_disk
from ..fileio import has_results
from ..heif import heif_extensions
from ..logs import warn
from ..vocabulary.names import read_lines

UNREADABLE_SUFFIXES = (
    *('.gif', '.avif', '.heic', '.heif', '.jxl', '.jp2', '.svg', '.psd', '.exr', '.hdr', '.dcm'),
    *('.cr2', '.cr3', '.nef', '.arw', '.dng', '.raf', '.orf', '.rw2', '.jfif', '.jpe', '.tga'),
)
SYSTEM_FOLDERS = ('@eaDir', '__MACOSX', '#recycle', '$RECYCLE.BIN')


def list_inputs(inputs: Any) -> list:
    """The images of a file, folder, glob, URL, array, or a list of these.

    Files and URLs are strings, other inputs are returned as they are. Images of a folder and its
    subfolders are sorted by name, see `walk_images`. A folder or a glob without images is an error.
    """
    if isinstance(inputs, (list, tuple, Iterator)) and not hasattr(inputs, 'read'):
        return [image for entry in inputs for image in list_inputs(entry)]
    if not isinstance(inputs, (str, os.PathLike)):
        return [inputs]
    source = os.fspath(inputs)
    if source.startswith('file://'):
        source = url2pathname(urlsplit(source).path)
    if '://' in source:
        return [source]
    if os.path.isdir(source):
        images = sorted(map(str, walk_images(source)))
        if not images:
            raise ValueError(f'The folder {source} has no images ({", ".join(IMG_EXTENSIONS)}).')
        return images
    if glob.has_magic(source) and not os.path.exists(source):
        files = sorted(str(file) for file in _glob(source)[1] if file.is_file())
        if not files:
            raise FileNotFoundError(f'No file fits {source}. The working folder is {Path.cwd()}.')
        return files
    return [on_disk(source)]


def list_images(
    source: str | os.PathLike, leave_out: Sequence[str | os.PathLike] = ()
) -> dict[str, Path]:
    """Find images to label.

    Args:
        source: A folder, see `walk_images`; a glob such as `'photos/*/*.jpg'` (`**` for any depth);
            an image; or a text file (`.txt`) with a path on each line, relative to its folder.
        leave_out: Folders to exclude, such as those of result pictures.

    Returns:
        Paths by name, sorted. A name is the path relative to the folder, to the part of a glob
        before its first wildcard, or to the text file's folder; with `/` on every system.

    Raises:
        FileNotFoundError: The source does not exist.
        ValueError: It has no images, or the text file has a line twice.
    """
    root, paths = _find(source)
    excluded = {Path(folder).resolve() for folder in leave_out}
    if excluded:  # the location of a link counts, not its target
        paths = (p for p in paths if excluded.isdisjoint((p.parent.resolve() / p.name).parents))
    names = {}
    for path in paths:
        name = Path(os.path.relpath(path, root)).as_posix()
        if name in names:
            raise ValueError(f'{source} names {name} twice; leave one out')
        names[name] = path
    if not names:
        besides = f' besides those in {", ".join(map(str, leave_out))}' if excluded else ''
        raise ValueError(
            f'{source} has no images{besides}. A folder or a glob is searched for '
            f'{", ".join(IMG_EXTENSIONS)}; other files can be named in a .txt file, one on a line.'
        )
    return dict(sorted(names.items()))


def _find(source: str | os.PathLike) -> tuple[Path, Iterator[Path]]:
    """The folder that names are relative to, and the images."""
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
    root, files = _glob(source)
    return root, (file for file in files if _is_image_name(file.name) and file.is_file())


def _glob(pattern: str | os.PathLike) -> tuple[Path, Iterator[Path]]:
    """The folder before a glob's first wildcard, and matches outside of folders of results."""
    root = Path(pattern)
    while glob.has_magic(str(root)):
        root = root.parent

    @cache
    def is_result_folder(folder: Path) -> bool:
        if folder in (root, folder.parent):
            return False
        return has_results(folder) or is_result_folder(folder.parent)

    paths = map(Path, glob.iglob(str(pattern), recursive=True))
    return root, (path for path in paths if not is_result_folder(path.parent))


def walk_images(folder: str | os.PathLike) -> Iterator[Path]:
    """Images of a folder and its subfolders, following links, each folder once.

    Hidden files and folders, folders that systems make, and subfolders with results of an earlier
    run are skipped. Folders and image formats that cannot be read are reported in warnings.
    """

    def report(error: OSError) -> None:
        warn(f'{error.filename} is left out: {error.strerror}.')

    visited = set()
    for parent, folders, files in os.walk(folder, onerror=report, followlinks=True):
        real = os.path.realpath(parent)
        if real in visited or (visited and has_results(parent)):
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(f for f in folders if f[0] != '.' and f not in SYSTEM_FOLDERS)
        visible = [name for name in files if not name.startswith('.')]
        _warn_unreadable(visible, parent)
        yield from (Path(parent, name) for name in visible if _is_image_name(name))


def _is_image_name(name: str) -> bool:
    return name.lower().endswith((*IMG_EXTENSIONS, *heif_extensions()))


def _warn_unreadable(files: Sequence[str], folder: str) -> None:
    counts = Counter(os.path.splitext(file)[1].lower() for file in files)
    unreadable = [s for s in UNREADABLE_SUFFIXES if counts[s] and s not in heif_extensions()]
    if unreadable:
        warn(
            f'{folder}: {sum(counts[s] for s in unreadable)} images are left out, their formats '
            f'are not read: {", ".join(f"{counts[s]} {s}" for s in unreadable)}. Convert '
            "them to JPEG or PNG; HEIC is read after pip install 'mmovsam[heic]'."
        )


@contextmanager
def local_file(source: str) -> Iterator[str]:
    """A file itself, or a temporary copy of what a URL refers to."""
    if '://' not in source:
        yield source
        return
    try:
        get_file_backend(source)
    except (KeyError, ValueError) as error:
        raise ValueError(
            f'MMEngine has no file backend for {source} ({error!r}). Give http://, https:// or '
            'file:// addresses, or files.'
        ) from None
    with get_local_path(source) as path:
        yield str(path)


def file_key(name: str) -> str:
    """A key that is equal for names of the same file on some file system.

    Some file systems ignore case, or whether letters are composed or decomposed.
    """
    return unicodedata.normalize('NFC', name).casefold()


class FileNames:
    """Makes file names for the results of images, unique on any file system."""

    def __init__(self) -> None:
        self._used: set[str] = set()
        self._next: dict[str, int] = {}

    def name(self, source: str) -> str:
        """The stem of a file or URL, with a number if it has been used."""
        path = unquote(urlsplit(source).path) if '://' in source else source
        stem = name = Path(path).stem or 'image'
        while file_key(name) in self._used:
            number = self._next.get(stem, 2)
            self._next[stem] = number + 1
            name = f'{stem}_{number}'
        self._used.add(file_key(name))
        return name
