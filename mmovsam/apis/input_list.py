"""Which images there are in what somebody hands over, and what their results are called."""

from __future__ import annotations

import glob
import logging
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from mmdet.apis.det_inferencer import IMG_EXTENSIONS
from mmengine.fileio import get_file_backend, get_local_path
from mmengine.logging import print_log

from ..datasets.files import on_disk

OTHER_FORMATS = (
    *('.gif', '.avif', '.heic', '.heif', '.jxl', '.jp2', '.svg', '.psd', '.exr', '.hdr', '.dcm'),
    *('.cr2', '.cr3', '.nef', '.arw', '.dng', '.raf', '.orf', '.rw2', '.jfif', '.jpe', '.tga'),
)


def list_inputs(inputs: Any) -> list:
    """The images of files, folders, globs, addresses, arrays, or lists of these.

    Args:
        inputs: See `OVSAMInferencer.__call__`.

    Returns:
        Each image: text for a file or an address, else what was given. A folder's, and those of
        all folders in it, are sorted by name; see `walk_images`.

    Raises:
        FileNotFoundError: A glob fits nothing.
        ValueError: A folder has no images.
    """
    if isinstance(inputs, (list, tuple, Iterator)) and not hasattr(inputs, 'read'):
        return [image for entry in inputs for image in list_inputs(entry)]
    if not isinstance(inputs, (str, os.PathLike)):
        return [inputs]
    source = os.fspath(inputs)
    if source.startswith('file://'):
        source = url2pathname(urlsplit(source).path)
    if '://' in source:
        return _at_address(source)
    if os.path.isdir(source):
        return _some(sorted(map(str, walk_images(source))), source)
    if glob.has_magic(source) and not os.path.exists(source):
        found = sorted(path for path in glob.iglob(source, recursive=True) if os.path.isfile(path))
        if not found:
            raise FileNotFoundError(f'No file fits {source}. The working folder is {Path.cwd()}.')
        return found
    return [on_disk(source)]


def _at_address(source: str) -> list[str]:
    try:
        backend = get_file_backend(source)
    except (KeyError, ValueError):
        return [source]  # an error of this input alone, when it is read
    if hasattr(backend, 'isdir') and backend.isdir(source):
        names = backend.list_dir_or_file(source, list_dir=False, recursive=True)
        visible = [name for name in names if not any(p.startswith('.') for p in Path(name).parts)]
        files = [backend.join_path(source, name) for name in visible]
        tell_not_taken(files, source)
        return _some(sorted(file for file in files if is_image_name(file)), source)
    return [source]


def _some(images: list[str], folder: str) -> list[str]:
    if not images:
        raise ValueError(f'The folder {folder} has no images ({", ".join(IMG_EXTENSIONS)}).')
    return images


def walk_images(folder: str | os.PathLike) -> Iterator[Path]:
    """Images of a folder and of those in it, through links, though never in circles.

    Hidden files and folders are left out; images of formats that are not read are counted in a
    warning.
    """
    seen = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith('.'))
        visible = [name for name in files if not name.startswith('.')]
        tell_not_taken(visible, place)
        yield from (Path(place, name) for name in visible if is_image_name(name))


def is_image_name(name: str) -> bool:
    """Whether a file or address ends like an image of a format that is read."""
    return name.lower().endswith(IMG_EXTENSIONS)


def tell_not_taken(files: Iterable[str], source: str | os.PathLike) -> None:
    """Count the images among files whose formats are not read, in a warning.

    Args:
        files: All files that were found.
        source: Where.
    """
    endings = Counter(os.path.splitext(file)[1].lower() for file in files)
    not_taken = {ending: endings[ending] for ending in OTHER_FORMATS if endings[ending]}
    if not_taken:
        print_log(
            f'{source}: {sum(not_taken.values())} images are left out, their formats are not read: '
            f'{", ".join(f"{count} {ending}" for ending, count in not_taken.items())}. Convert '
            'them to JPEG or PNG.',
            logger='current',
            level=logging.WARNING,
        )


@contextmanager
def local_file(source: str) -> Iterator[str]:
    """A file as it is, or what lies at an address as a temporary file."""
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
    """What is alike for two names that mean one file on some file system.

    Some tell neither upper from lower case nor composed from decomposed letters.
    """
    return unicodedata.normalize('NFC', name).casefold()


class FileNames:
    """Names for the results of images, no two of them alike on any file system."""

    def __init__(self) -> None:
        self._used: set[str] = set()
        self._next: dict[str, int] = {}

    def name(self, source: str) -> str:
        """The name of a file or address without its ending; if it is taken, with a number."""
        path = unquote(urlsplit(source).path) if '://' in source else source
        stem = name = Path(path).stem or 'image'
        while file_key(name) in self._used:
            number = self._next.get(stem, 2)
            self._next[stem] = number + 1
            name = f'{stem}_{number}'
        self._used.add(file_key(name))
        return name
