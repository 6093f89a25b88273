"""Files by plain HTTP: whole, from where a stopped download was, or only what is read of them."""

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

from ..fileio import stand_in
from ..version import __version__

_TIMEOUT = 30  # seconds without a byte after which a connection counts as lost
_PAUSE = 1.0  # seconds before a lost connection is made again
_LOST = (ConnectionError, TimeoutError, http.client.HTTPException)


def request(url: str, **headers: str):
    """The response of a GET request; headers have `_` in place of `-`."""
    headers = {key.replace('_', '-'): value for key, value in headers.items()}
    agent = {'User-Agent': f'mmovsam/{__version__}', 'Accept-Encoding': 'identity'}
    return urllib.request.urlopen(
        urllib.request.Request(url, headers={**agent, **headers}), timeout=_TIMEOUT
    )


def is_reachable(url: str) -> OSError | None:
    """None if a server answers, whatever it says; else why it does not."""
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
    """Fetch a file; what a stopped download of it left is not fetched again.

    Until it is whole it lies beside `target` as `.part`. A lost connection is made again as long as
    that brings the file forward.

    Raises:
        OSError: The server, the connection or the disk failed, or the server gave a web page or a
            pointer of Git LFS in place of the file.
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
    with open(part, 'rb') as file:
        other = stand_in(file.read(1000), archives=False)
    if other:
        part.unlink()  # of a network that asks to sign in, it would be taken for the file for ever
        raise OSError(f'{url} gave {other}')
    os.replace(part, target)
    _version_file(part).unlink(missing_ok=True)


def _go_on(url: str, part: Path) -> None:
    """Append to a file what is missing of it."""
    start, noted = _size(part), _version_file(part)
    version = noted.read_text() if noted.is_file() else ''
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
            noted.write_text(_version_of(response) or '')
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
    """What tells one version of a file from the next, as `If-Range` takes it."""
    etag = response.headers.get('ETag') or ''
    return response.headers.get('Last-Modified') if etag.startswith('W/') or not etag else etag


def _version_file(part: Path) -> Path:
    return part.with_name(f'{part.name}.version')


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else 0


class RangeFile(io.RawIOBase):
    """A seekable file, each read of which is an HTTP range request; see `open_remote`.

    Attributes:
        received (int): Bytes that were fetched.
        size (int): Bytes of the whole file.

    Raises:
        io.UnsupportedOperation: The server does not serve parts of files.
        OSError: It cannot be reached, has no such file, or has another one by now.
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
    """A file on a server, of which what is read is fetched, at least 32 KiB at once."""
    return io.BufferedReader(RangeFile(url), 2**15)
