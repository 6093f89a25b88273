"""Files by plain HTTP: with a bar, and from where an interrupted download stopped."""

from __future__ import annotations

import contextlib
import errno
import http.client
import os
import shutil
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from tqdm import tqdm

from ..version import __version__

TIMEOUT = 30
"""Seconds without a byte after which a connection counts as lost."""
_PATIENCE = 10  # seconds for the first answer
_CHUNK = 2**20
_PAUSE = 1.0  # seconds before a lost connection is made again
_LOST = (ConnectionError, TimeoutError, http.client.HTTPException)


def request(url: str, **headers: str):
    """The response of a GET request, through the proxy that the environment names.

    Args:
        url: An address.
        **headers: With `_` in place of `-`.

    Raises:
        OSError: As urllib has them.
    """
    headers = {key.replace('_', '-'): value for key, value in headers.items()}
    agent = {'User-Agent': f'mmovsam/{__version__}', 'Accept-Encoding': 'identity'}
    return urllib.request.urlopen(
        urllib.request.Request(url, headers={**agent, **headers}), timeout=TIMEOUT
    )


def is_reachable(url: str) -> OSError | None:
    """None if a server answers, whatever it says; else why it does not.

    Args:
        url: Of the server.
    """
    try:
        head = urllib.request.Request(url, method='HEAD')
        urllib.request.urlopen(head, timeout=_PATIENCE).close()
    except urllib.error.HTTPError as error:
        error.close()
        return error if error.code == 407 else None
    except OSError as error:
        return error
    return None


def download(url: str, target: Path) -> None:
    """Fetch a file; what a stopped download of it left is not fetched again.

    Until it is whole it lies beside `target` as `.part`. A lost connection is made again as long as
    that brings the file forward.

    Args:
        url: `http://` or `https://`.
        target: File to write.

    Raises:
        OSError: The server, the connection or the disk failed.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f'{target.name}.part')
    while True:
        before = _size(part)
        try:
            _go_on(url, part)
            break
        except _LOST:
            if _size(part) <= before:
                raise
            time.sleep(_PAUSE)
    os.replace(part, target)
    _version_file(part).unlink(missing_ok=True)


def _go_on(url: str, part: Path) -> None:
    """Append to a file what is missing of it."""
    start, version = _size(part), _read(_version_file(part))
    headers = dict(Range=f'bytes={start}-', If_Range=version) if start and version else {}
    try:
        response = request(url, **headers)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        error.close()
        if error.headers.get('Content-Range', '').endswith(f'/{start}'):
            return  # it was whole
        part.unlink()
        return _go_on(url, part)
    with response:
        if response.status != 206:
            start = 0  # the file is another one by now, or the server cannot go on
            part.unlink(missing_ok=True)  # first: no part may stand beside another's version
            _version_file(part).write_text(version_of(response) or '')
        length = response.headers.get('Content-Length')
        total = start + int(length) if length else None
        _check_space(part.parent, total, start)
        bar = tqdm(
            total=total,
            initial=start,
            desc=Path(url).name[:40],
            unit='B',
            unit_scale=True,
            unit_divisor=1024,
            file=sys.stderr,
        )
        with bar, open(part, 'ab' if start else 'wb') as file:
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
            file.flush()
            os.fsync(file.fileno())
    if total is not None and _size(part) != total:
        raise ConnectionError(
            f'the server closed the connection after {_size(part):,} of {total:,} bytes'
        )


def version_of(response) -> str | None:
    """What tells one version of a file from the next, as `If-Range` takes it."""
    etag = response.headers.get('ETag') or ''
    return response.headers.get('Last-Modified') if etag.startswith('W/') or not etag else etag


def _check_space(folder: Path, total: int | None, start: int) -> None:
    free = shutil.disk_usage(folder).free
    if total is not None and total - start > free:
        raise OSError(
            errno.ENOSPC, f'{total - start:,} bytes are missing and {free:,} are free', str(folder)
        )


def _version_file(part: Path) -> Path:
    return part.with_name(f'{part.name}.version')


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else 0


def _read(file: Path) -> str:
    with contextlib.suppress(OSError):
        return file.read_text()
    return ''
