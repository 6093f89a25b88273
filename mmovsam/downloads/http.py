"""Downloads by HTTP: resumed after interruptions, or by range requests."""

from __future__ import annotations

import errno
import http.client
import io
import os
import shutil
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from tqdm import tqdm

from ..fileio import describe_wrong_content
from ..version import __version__

_TIMEOUT = 30  # seconds without data
_PAUSE = 1.0  # seconds before a retry
_LOST = (ConnectionError, TimeoutError, http.client.HTTPException)


def request(url: str, **headers: str):
    """The response to a GET request; headers have `_` for `-`."""
    headers = {key.replace('_', '-'): value for key, value in headers.items()}
    agent = {'User-Agent': f'mmovsam/{__version__}', 'Accept-Encoding': 'identity'}
    return urllib.request.urlopen(
        urllib.request.Request(url, headers={**agent, **headers}), timeout=_TIMEOUT
    )


def is_reachable(url: str) -> OSError | None:
    """None if a server answers, with any status; else the error."""
    try:
        head = urllib.request.Request(url, method='HEAD')
        urllib.request.urlopen(head, timeout=10).close()
    except urllib.error.HTTPError as error:
        error.close()
        return error if error.code == 407 else None
    except OSError as error:
        return error
    return None


def download(url: str, target: Path) -> None:
    """Download a file, resuming an interrupted download.

    An incomplete file lies beside `target` as `.part`. Lost connections are retried as long as the
    file grows.

    Raises:
        OSError: The server, the connection or the disk failed, or the server gave a web page or a
            pointer of Git LFS instead of the file.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f'{target.name}.part')
    while True:
        before = _size(part)
        try:
            _resume(url, part)
            break
        except _LOST:
            if _size(part) <= before:
                raise
            time.sleep(_PAUSE)
    with open(part, 'rb') as file:
        problem = describe_wrong_content(file.read(1000), archives=False)
    if problem:
        part.unlink()  # such as the login page of a network
        raise OSError(f'{url} gave {problem}')
    os.replace(part, target)
    _version_file(part).unlink(missing_ok=True)


def _resume(url: str, part: Path) -> None:
    """Append the missing rest to a partial file."""
    start, version_file = _size(part), _version_file(part)
    version = version_file.read_text() if version_file.is_file() else ''
    headers = dict(Range=f'bytes={start}-', If_Range=version) if start and version else {}
    try:
        response = request(url, **headers)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        error.close()
        if error.headers.get('Content-Range', '').endswith(f'/{start}'):
            return  # it is complete
        part.unlink()
        return _resume(url, part)
    with response:
        if response.status != 206:
            start = 0  # the file has changed, or the server cannot resume
            part.unlink(missing_ok=True)  # before its version changes
            version_file.write_text(_version_of(response) or '')
        length = response.headers.get('Content-Length')
        total = start + int(length) if length else None
        free = shutil.disk_usage(part.parent).free
        if total is not None and total - start > free:
            missing = f'{total - start:,} bytes are missing and {free:,} are free'
            raise OSError(errno.ENOSPC, missing, str(part.parent))
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
            while chunk := response.read(2**20):
                file.write(chunk)
                bar.update(len(chunk))
            file.flush()
            os.fsync(file.fileno())
    if total is not None and _size(part) != total:
        raise ConnectionError(
            f'the server closed the connection after {_size(part):,} of {total:,} bytes'
        )


def _version_of(response) -> str | None:
    """An ETag or date of a file's version, for `If-Range`."""
    etag = response.headers.get('ETag') or ''
    return response.headers.get('Last-Modified') if etag.startswith('W/') or not etag else etag


def _version_file(part: Path) -> Path:
    return part.with_name(f'{part.name}.version')


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else 0


class RangeFile(io.RawIOBase):
    """A seekable file on a server, read by HTTP range requests; see `open_remote`.

    Attributes:
        received (int): Bytes that were fetched.
        size (int): Bytes of the file.

    Raises:
        io.UnsupportedOperation: The server has no range requests.
        OSError: It cannot be reached, has no such file, or the file has changed.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self.received = 0
        self._position = 0
        with request(url, Range='bytes=0-0') as response:
            if response.status != 206:
                raise io.UnsupportedOperation(f'{url} is served as a whole only')
            self.size = int(response.headers['Content-Range'].rpartition('/')[2])
            self._version = _version_of(response)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        if start + offset < 0:
            raise OSError(f'position {start + offset} is before the start of {self.url}')
        self._position = start + offset
        return self._position

    def readinto(self, buffer) -> int:
        start, end = self._position, min(self._position + len(buffer), self.size)
        if end <= start:
            return 0
        headers = dict(If_Range=self._version) if self._version else {}
        with request(self.url, Range=f'bytes={start}-{end - 1}', **headers) as response:
            if response.status != 206:
                raise OSError(f'{self.url} was replaced by another file while it was read')
            data = response.read()
        self.received += len(data)
        if len(data) != end - start:
            raise ConnectionError(
                f'the server closed the connection after {len(data)} of {end - start} bytes'
            )
        buffer[: len(data)] = data
        self._position = end
        return len(data)


def open_remote(url: str) -> io.BufferedReader:
    """A file on a server; reads fetch at least 32 KiB at once."""
    return io.BufferedReader(RangeFile(url), 2**15)
