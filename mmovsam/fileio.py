"""Atomic writes, text files of any encoding, JSON, and the cache folder."""

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

# UTF-32's byte order mark begins with that of UTF-16
_BYTE_ORDER_MARKS = (
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
# read once: reading changes it for a moment, for all threads
_UMASK = os.umask(0o077)
os.umask(_UMASK)
CACHE_VARIABLE = 'MMOVSAM_CACHE'
RESULTS = '.mmovsam-results'  # a file that marks folders of results


def cache_folder() -> Path | None:
    """The folder `MMOVSAM_CACHE`, by default the platform's cache folder; None if that is `off`.

    The default is `~/.cache/mmovsam` on Linux, or below `XDG_CACHE_HOME`.
    """
    value = os.environ.get(CACHE_VARIABLE, '')
    if value.lower() == 'off':
        return None
    return Path(value).expanduser() if value else platformdirs.user_cache_path('mmovsam')


@contextlib.contextmanager
def atomic_path(path):
    """A temporary file that replaces `path` at the end of the block, unless it raises.

    Links are followed, and the mode of a replaced file is kept. The folder is made if it is
    missing.

    Raises:
        OSError: It cannot be written; it is a device or a pipe.
    """
    path = Path(os.path.realpath(path))
    temporary = None
    try:
        with errors_naming(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            mode = path.stat().st_mode if path.exists() else None
            if mode is not None and not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                reason = 'It is a device or a pipe, expected a file'
                raise OSError(errno.EINVAL, reason, str(path))
            handle, name = tempfile.mkstemp(prefix=_prefix(path), suffix='.tmp', dir=path.parent)
            os.close(handle)
            temporary = Path(name)
            yield temporary
            temporary.chmod(0o666 & ~_UMASK if mode is None else stat.S_IMODE(mode))
            os.replace(temporary, path)
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):  # the first error counts
                temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def errors_naming(path):
    """A block whose `OSError`s get the name of `path` if they have none or a temporary one."""
    try:
        yield
    except OSError as error:
        has_other_name = error.filename and _prefix(path) not in str(error.filename)
        if error.errno is None or has_other_name:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def _prefix(path) -> str:
    """The prefix of temporary names; a name has at most 255 bytes."""
    return f'.{os.fsdecode(os.fsencode(Path(path).name)[:200])}.'


def write_atomic(path, data, durable=False) -> None:
    """Write a file atomically, text as UTF-8.

    With `durable` the content is on the disk before it replaces the file, so that a power cut
    leaves one or the other.
    """
    with atomic_path(path) as temporary, open(temporary, 'wb') as file:
        file.write(data.encode() if isinstance(data, str) else data)
        if durable:
            file.flush()
            os.fsync(file.fileno())


def mark_results(folder) -> None:
    """Make a folder and mark it as one of results, which no run takes for its input images."""
    if not (Path(folder) / RESULTS).exists():
        text = 'Pictures here are results of mmovsam. Delete this file to use them as images.\n'
        write_atomic(Path(folder) / RESULTS, text)


def has_results(folder) -> bool:
    """Whether a folder is marked by `mark_results`; a warning says that it is left out."""
    is_marked = (Path(folder) / RESULTS).exists()
    if is_marked:
        warn(f'{folder} is left out: it has results of an earlier run, says {RESULTS} in it.')
    return is_marked


def describe_wrong_content(data, archives=True) -> str | None:
    """What a file is in place of the expected one, and the remedy; None if nothing is found.

    Recognised are pointers of Git LFS, web pages and, with `archives`, archives, by the first
    thousand bytes.
    """
    if data.startswith(_LFS):
        return 'the pointer of a file that Git LFS has: git lfs pull'
    if data[:1000].lstrip()[:14].lower().startswith((b'<!doctype html', b'<html')):
        return 'a web page: download the file itself, which may need a password'
    if not archives:
        return None
    return next((text for start, text in _ARCHIVES.items() if data.startswith(start)), None)


def read_text(path) -> str:
    """The text of a file in UTF-8, or in UTF-16 or UTF-32 with a byte order mark.

    Line ends become line feeds.

    Raises:
        ValueError: If it is of another encoding, or no text file.
    """
    data = Path(path).read_bytes()
    problem = describe_wrong_content(data)
    if problem:
        raise ValueError(f'{path} is {problem}')
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS if data.startswith(mark)), 'utf-8')
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        is_truncated = error.reason == 'unexpected end of data'
        raise ValueError(
            f'{path} is not UTF-8 (byte {error.start}): save it as UTF-8'
            f'{", or get it again if it is cut off" * is_truncated}'
        ) from None
    if '\0' in text:  # UTF-16 or UTF-32 without mark
        raise ValueError(
            f'{path} is not UTF-8 (byte {data.index(0)} is zero): save it as UTF-8, or get it '
            'again if it is damaged'
        )
    text = text.replace('\ufeff', '')  # between concatenated files
    return text.replace('\r\n', '\n').replace('\r', '\n')


def unique_keys(pairs) -> dict:
    """An `object_pairs_hook` of `json` that raises a `ValueError` for duplicate keys."""
    content = dict(pairs)
    if len(content) < len(pairs):
        key = next(key for index, (key, _) in enumerate(pairs) if key in dict(pairs[:index]))
        raise ValueError(f'an object has "{key}" twice')
    return content


def read_json(path, remedy: str) -> dict:
    """The JSON object in a file; `remedy` is how to get the file, for errors.

    Raises:
        FileNotFoundError: The file is missing.
        ValueError: It is truncated, not JSON, not an object, or of another encoding.
    """
    text = read_text(require_file(path, 'JSON file', remedy))
    try:
        content = json.loads(text, object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f'{path} is truncated or not JSON ({error}); delete it and get it again. {remedy}'
        ) from None
    if not isinstance(content, dict):
        raise ValueError(f'{path} holds a {type(content).__name__}, expected an object. {remedy}')
    return content
