"""Files: written whole or not at all, text of any encoding, and the folder of the cache."""

import codecs
import contextlib
import errno
import json
import os
import stat
import tempfile
from pathlib import Path

import platformdirs

from .logs import warn
from .validation import require_file

# UTF-32's mark begins with that of UTF-16
_MARKS = (
    (codecs.BOM_UTF8, 'utf-8-sig'),
    (codecs.BOM_UTF32_LE, 'utf-32'),
    (codecs.BOM_UTF32_BE, 'utf-32'),
    (codecs.BOM_UTF16_LE, 'utf-16'),
    (codecs.BOM_UTF16_BE, 'utf-16'),
)
_LFS = b'version https://git-lfs.github.com/'
_ARCHIVES = {
    b'\x1f\x8b': 'compressed by gzip: unpack it',
    b'PK\x03\x04': 'a ZIP archive or an Office document: unpack it, or save it as text',
}
"""By how they begin."""
CACHE_VARIABLE = 'MMOVSAM_CACHE'
RESULTS = '.mmovsam-results'  # a file in folders of pictures that were made of others


def cache_folder() -> Path | None:
    """Where what can be made again is kept; None if nothing is.

    The folder that `MMOVSAM_CACHE` names, by default the platform's cache folder of the user (on
    Linux `~/.cache/mmovsam`, or below `XDG_CACHE_HOME`); `MMOVSAM_CACHE=off` keeps nothing.
    """
    value = os.environ.get(CACHE_VARIABLE, '')
    if value.lower() == 'off':
        return None
    return Path(value).expanduser() if value else platformdirs.user_cache_path('mmovsam')


@contextlib.contextmanager
def atomic_path(path):
    """A temporary name beside `path` that becomes `path` when the block ends well.

    What a link leads to is replaced, not the link; who may read a file that is replaced stays.

    Args:
        path (str | Path): File to write; its folder is made if it is missing.

    Yields:
        Path: Where to write. It is renamed to `path` at the end and removed if the block
        raises, so that `path` never holds half a file.

    Raises:
        OSError: It cannot be written; it is a device or a pipe.
    """
    path = Path(os.path.realpath(path))
    temporary = None
    try:
        with errors_naming(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            there = path.stat().st_mode if path.exists() else None
            if there is not None and not stat.S_ISREG(there) and not stat.S_ISDIR(there):
                reason = 'It is a device or a pipe, expected a file'
                raise OSError(errno.EINVAL, reason, str(path))
            handle, name = tempfile.mkstemp(prefix=_start(path), suffix='.tmp', dir=path.parent)
            os.close(handle)
            temporary = Path(name)
            yield temporary
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask if there is None else stat.S_IMODE(there))
            os.replace(temporary, path)
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):  # a disk that fails is no news here
                temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def errors_naming(path):
    """A block whose errors of the disk name a file, where they name none or a temporary one.

    Args:
        path (str | Path): What the block reads or writes.
    """
    try:
        yield
    except OSError as error:
        is_other = error.filename and _start(path) not in str(error.filename)
        if error.errno is None or is_other:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def _start(path) -> str:
    """How a temporary name begins; a name has 255 bytes at most."""
    return f'.{os.fsdecode(os.fsencode(Path(path).name)[:200])}.'


def write_atomic(path, data, durable=False) -> None:
    """Write a whole file at once.

    Args:
        path (str | Path): File to write.
        data (bytes | str): Its content; text is written as UTF-8.
        durable (bool): Whether the content must be on the disk before it takes the place of the
            file, so that a power cut leaves one or the other.
    """
    with atomic_path(path) as temporary, open(temporary, 'wb') as file:
        file.write(data.encode() if isinstance(data, str) else data)
        if durable:
            file.flush()
            os.fsync(file.fileno())


def mark_results(folder) -> None:
    """Mark a folder, which is made, as one of results, so that no run takes them for its images.

    Args:
        folder (str | Path): Where pictures go that are made of others.
    """
    if not (Path(folder) / RESULTS).exists():
        about = 'Pictures here are results of mmovsam. Delete this file to use them as images.\n'
        write_atomic(Path(folder) / RESULTS, about)


def has_results(folder) -> bool:
    """Whether a folder is to be left out, since `mark_results` has marked it; a warning says so."""
    is_marked = (Path(folder) / RESULTS).exists()
    if is_marked:
        warn(f'{folder} is left out: it has results of an earlier run, says {RESULTS} in it.')
    return is_marked


def stand_in(data, archives=True) -> str | None:
    """What a file is that only stands for another one, and the remedy; None if it is no such file.

    Args:
        data (bytes): How it begins, a thousand bytes of it or all.
        archives (bool): Whether archives are meant, too.
    """
    if data.startswith(_LFS):
        return 'the pointer of a file that Git LFS has: git lfs pull'
    if data[:1000].lstrip()[:14].lower().startswith((b'<!doctype html', b'<html')):
        return 'a web page: download the file itself, which may need a password'
    found = (what for start, what in _ARCHIVES.items() if archives and data.startswith(start))
    return next(found, None)


def read_text(path) -> str:
    """The text of a file as people's tools write it: UTF-8, or UTF-16 or UTF-32 with its mark.

    Without a mark, UTF-16 and UTF-32 are told by their zeros, which no text has otherwise.

    Args:
        path (str | Path): An existing file.

    Returns:
        str: The text, its lines ended by line feeds.

    Raises:
        ValueError: If it is of another encoding, or stands for another file.
    """
    data = Path(path).read_bytes()
    other = stand_in(data)
    if other:
        raise ValueError(f'{path} is {other}')
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), 'utf-8')
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        cut = error.reason == 'unexpected end of data'
        raise ValueError(
            f'{path} is not UTF-8 (byte {error.start}): save it as UTF-8'
            f'{", or get it again if it is cut off" * cut}'
        ) from None
    if '\0' in text:
        raise ValueError(
            f'{path} is not UTF-8 (byte {data.index(0)} is zero): save it as UTF-8, or get it '
            'again if it is damaged'
        )
    text = text.replace('\ufeff', '')  # of files that were joined
    return text.replace('\r\n', '\n').replace('\r', '\n')


def once(pairs) -> dict:
    """A JSON object in which no key is twice, for `object_pairs_hook`; the last would count."""
    found = dict(pairs)
    if len(found) < len(pairs):
        key = next(key for number, (key, _) in enumerate(pairs) if key in dict(pairs[:number]))
        raise ValueError(f'an object has "{key}" twice')
    return found


def read_json(path, remedy: str) -> dict:
    """The JSON object of a file; `remedy` says in every error how to get the file.

    Raises:
        FileNotFoundError: The file is missing.
        ValueError: It is truncated, not JSON, not an object, or of another encoding.
    """
    text = read_text(require_file(path, 'JSON file', remedy))
    try:
        content = json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f'{path} is truncated or not JSON ({error}); delete it and get it again. {remedy}'
        ) from None
    if not isinstance(content, dict):
        raise ValueError(f'{path} holds a {type(content).__name__}, expected an object. {remedy}')
    return content
