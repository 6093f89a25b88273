"""A file at an address, of which only what is read is fetched."""

from __future__ import annotations

import io

from .http import request, version_of

_BLOCK = 2**15
_KEPT = 256  # blocks, 8 MiB


class RangeFile(io.RawIOBase):
    """A seekable file, read by HTTP range requests.

    It is fetched in blocks of 32 KiB, several at once where more is read, and the blocks are
    remembered, so that small reads beside each other cost one request.

    Args:
        url: `http://` or `https://`.

    Attributes:
        received (int): Bytes that were fetched.
        size (int): Bytes of the whole file.

    Raises:
        io.UnsupportedOperation: The server does not serve parts of files.
        OSError: It cannot be reached, or has no such file.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self.received = 0
        self._position = 0
        self._blocks: dict[int, bytes] = {}
        self._version = None
        with request(url, Range='bytes=0-0') as response:
            if response.status != 206:
                raise io.UnsupportedOperation(f'{url} is served as a whole only')
            self.size = int(response.headers['Content-Range'].rpartition('/')[2])
            self._version = version_of(response)
            self.received += len(response.read())

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
        end = min(self._position + len(buffer), self.size)
        if end <= self._position:
            return 0
        first, last = self._position // _BLOCK, (end - 1) // _BLOCK
        self._fetch([i for i in range(first, last + 1) if i not in self._blocks])
        data = b''.join(self._blocks[i] for i in range(first, last + 1))
        start = self._position - first * _BLOCK
        count = end - self._position
        buffer[:count] = data[start : start + count]
        self._position = end
        while len(self._blocks) > _KEPT:
            self._blocks.pop(next(iter(self._blocks)))
        return count

    def _fetch(self, blocks: list[int]) -> None:
        """Fetch blocks, those that lie beside each other by one request."""
        while blocks:
            count = next(
                (n for n in range(1, len(blocks)) if blocks[n] != blocks[0] + n), len(blocks)
            )
            start = blocks[0] * _BLOCK
            end = min((blocks[0] + count) * _BLOCK, self.size)
            data = self._get(start, end)
            for n in range(count):
                self._blocks[blocks[n]] = data[n * _BLOCK : (n + 1) * _BLOCK]
            blocks = blocks[count:]

    def _get(self, start: int, end: int) -> bytes:
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
        return data
