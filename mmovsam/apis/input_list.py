"""Which images there are in what somebody hands over, and what their results are called."""

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

OTHER_FORMATS = (
    *('.gif', '.avif', '.heic', '.heif', '.jxl', '.jp2', '.svg', '.psd', '.exr', '.hdr', '.dcm'),
    *('.cr2', '.cr3', '.nef', '.arw', '.dng', '.raf', '.orf', '.rw2', '.jfif', '.jpe', '.tga'),
)
SYSTEMS = ('@eaDir', '__MACOSX', '#recycle', '$RECYCLE.BIN')  # thumbnails, and what was deleted


def list_inputs(inputs: Any) -> list:
    """The images of files, folders, globs, addresses, arrays, or lists of these.

    Each is text for a file or an address, else what was given. A folder's, and those of all folders
    in it, are sorted by name; see `walk_images`. A folder or a glob without any is an error.
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
        found = sorted(str(file) for file in _fitting(source)[1] if file.is_file())
        if not found:
            raise FileNotFoundError(f'No file fits {source}. The working folder is {Path.cwd()}.')
        return found
    return [on_disk(source)]


def list_images(
    source: str | os.PathLike, leave_out: Sequence[str | os.PathLike] = ()
) -> dict[str, Path]:
    """Find images to label.

    Args:
        source: A folder, see `walk_images`; a glob such as `'photos/*/*.jpg'` (`**` for any depth);
            one image; or a text file (`.txt`) with a path on each line, relative to its folder.
        leave_out: Folders whose images do not count, such as those of pictures made of others.

    Returns:
        Paths by their names, in the order of these. A name is the path relative to the folder, to
        what comes before a glob's first wildcard, or to the list; with `/` on every system.

    Raises:
        FileNotFoundError: There is nothing of that name.
        ValueError: There is no image in it, or the list has a line twice.
    """
    root, paths = _find(source)
    unwanted = {Path(folder).resolve() for folder in leave_out}
    if unwanted:  # where a link stands counts, not where it leads
        paths = (p for p in paths if unwanted.isdisjoint((p.parent.resolve() / p.name).parents))
    # Both are absolute, so that there is a way from one to the other.
    root = Path(os.path.abspath(root))
    names = {}
    for path in paths:
        name = Path(os.path.relpath(os.path.abspath(path), root)).as_posix()
        if name in names:
            raise ValueError(f'{source} names {name} twice; leave one out')
        names[name] = path
    if not names:
        made = f' besides those in {", ".join(map(str, leave_out))}' if unwanted else ''
        raise ValueError(
            f'{source} has no images{made}. A folder or a glob is searched for '
            f'{", ".join(IMG_EXTENSIONS)}; other files can be named in a .txt file, one on a line.'
        )
    return dict(sorted(names.items()))


def _find(source: str | os.PathLike) -> tuple[Path, Iterator[Path]]:
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
    fixed, found = _fitting(source)
    return fixed, (file for file in found if _is_image_name(file.name) and file.is_file())


def _fitting(pattern: str | os.PathLike) -> tuple[Path, Iterator[Path]]:
    """What comes before a glob's first wildcard, and what fits it outside of folders of results."""
    fixed = Path(pattern)
    while glob.has_magic(str(fixed)):
        fixed = fixed.parent

    @cache
    def is_made(folder: Path) -> bool:
        inner = folder not in (fixed, folder.parent)
        return inner and (has_results(folder) or is_made(folder.parent))

    found = map(Path, glob.iglob(str(pattern), recursive=True))
    return fixed, (file for file in found if not is_made(file.parent))


def walk_images(folder: str | os.PathLike) -> Iterator[Path]:
    """Images of a folder and of those in it, through links, though never in circles.

    Hidden files and folders are left out, and folders in it that systems make or that have results
    of an earlier run; images of formats that are not read are counted in a warning, and folders
    that cannot be read are named in one.
    """

    def report(error: OSError) -> None:
        warn(f'{error.filename} is left out: {error.strerror}.')

    seen = set()
    for place, folders, files in os.walk(folder, onerror=report, followlinks=True):
        real = os.path.realpath(place)
        if real in seen or (seen and has_results(place)):
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(each for each in folders if each[0] != '.' and each not in SYSTEMS)
        visible = [name for name in files if not name.startswith('.')]
        _count_others(visible, place)
        yield from (Path(place, name) for name in visible if _is_image_name(name))


def _is_image_name(name: str) -> bool:
    return name.lower().endswith((*IMG_EXTENSIONS, *heif_extensions()))


def _count_others(files: Sequence[str], folder: str) -> None:
    endings = Counter(os.path.splitext(file)[1].lower() for file in files)
    others = [ending for ending in OTHER_FORMATS if ending not in heif_extensions()]
    counts = {ending: endings[ending] for ending in others if endings[ending]}
    if counts:
        warn(
            f'{folder}: {sum(counts.values())} images are left out, their formats are not read: '
            f'{", ".join(f"{count} {ending}" for ending, count in counts.items())}. Convert '
            "them to JPEG or PNG; HEIC is read after pip install 'mmovsam[heic]'."
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
