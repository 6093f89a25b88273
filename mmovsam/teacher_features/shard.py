"""The files of a feature store: SQLite databases of checksummed records."""

from __future__ import annotations

import contextlib
import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from ..fileio import atomic_path

JOURNAL = '-journal'  # SQLite's suffix of rollback journals
_PAGE_SIZE = 65536  # bytes, SQLite's largest, with which records of 1 to 4 MiB are read fastest
# In messages of SQLite about a damaged file: SQLITE_CORRUPT and SQLITE_NOTADB (whose codes Python
# has from 3.11 on), another schema, a record of another type. After other errors, such as those of
# a disk, the file may be intact.
_DAMAGE = ('malformed', 'not a database', 'unsupported file', 'no such', 'Could not decode')


class DamagedFeatureError(ValueError):
    """A record, or a whole shard, is not what was written."""


class Record(NamedTuple):
    """An image's record: the CRC-32 of the image's file, and the bytes of its feature.

    The ids 1 and '1' are different.
    """

    image_id: int | str
    image_checksum: int
    data: bytes


class Shard:
    """A file of records, open in a `with` block. Each write is one transaction: all or nothing.

    Args:
        path: An existing file.
        writable: Whether records can be written. This also rolls back the write of a killed
            process, without which such a shard cannot be read.

    Raises:
        DamagedFeatureError: By all methods, if the file is not what was written.
        OSError: By all methods, if it cannot be read now, the disk is full, or another process
            writes.
    """

    def __init__(self, path: Path, writable: bool = False) -> None:
        self.path = path
        mode = 'rw' if writable else 'ro'
        with self._translate_errors('It'):
            self._connection = sqlite3.connect(f'{path.absolute().as_uri()}?mode={mode}', uri=True)

    def __enter__(self) -> Shard:
        return self

    def __exit__(self, *_) -> None:
        self._connection.close()

    @classmethod
    def create(cls, path: Path, records: Iterable[Record] = ()) -> None:
        """Write a new file of records atomically."""
        with atomic_path(path) as temporary, cls(temporary, writable=True) as shard:
            shard.path = path  # for messages
            with shard._translate_errors('It'):
                shard._connection.execute(f'PRAGMA page_size = {_PAGE_SIZE}')
                # without a type, integers and text stay what they are
                shard._connection.execute(
                    'CREATE TABLE features (id NOT NULL UNIQUE, image_checksum INTEGER NOT NULL, '
                    'checksum INTEGER NOT NULL, data BLOB NOT NULL)'
                )
            shard.write(records)

    def ids(self) -> list[int | str]:
        """The ids of the images, without reading records."""
        with self._translate_errors('Its list of images'):
            return [image_id for (image_id,) in self._connection.execute('SELECT id FROM features')]

    def read(self, image_id: int | str) -> Record | None:
        """The record of an image, else None."""
        query = 'SELECT image_checksum, checksum, data FROM features WHERE id = ?'
        what = f'The feature of image {image_id!r}'
        with self._translate_errors(what):
            row = self._connection.execute(query, (image_id,)).fetchone()
            if row is None:
                return None
            image_checksum, checksum, data = row
            record = Record(image_id, image_checksum, data)
            if not isinstance(data, bytes) or checksum != _checksum(record):
                raise self._damaged(what, 'its checksum is another')
            return record

    def write(self, records: Iterable[Record]) -> None:
        """Write records, all or none of them; they replace those of the same images."""
        rows = ((r.image_id, r.image_checksum, _checksum(r), r.data) for r in records)
        with self._translate_errors('It'), self._connection:
            self._connection.executemany(
                'INSERT OR REPLACE INTO features VALUES (?, ?, ?, ?)', rows
            )

    @contextlib.contextmanager
    def _translate_errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.DatabaseError, MemoryError) as error:
            if any(text in str(error) for text in _DAMAGE):
                raise self._damaged(what, error) from error
            reason = str(error) or 'it takes too much memory'
            raise OSError(
                f'{self.path}: {reason}. If a dump of features was stopped, start it again: '
                'it takes back what it had written by half. If one is running, let it end. If the '
                'disk failed, see to it: the features may be in order.'
            ) from error

    def _damaged(self, what: str, error: Exception | str) -> DamagedFeatureError:
        return DamagedFeatureError(
            f'{self.path} is damaged. {what} cannot be read: {error}. To compute it again: python '
            'tools/dump_teacher_features.py with --damaged recompute.'
        )


def _checksum(record: Record) -> int:
    header = f'{record.image_id!r} {record.image_checksum}'
    return zlib.crc32(record.data, zlib.crc32(header.encode()))
