"""The journal of a run: a folder of append-only files of results, one for each process."""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ...checkpoints.fingerprint import hash_of, module_fingerprint
from ...fileio import errors_naming
from ...version import __version__
from ..predictor import OVSAMPredictor

VERSION = 1


class Location(NamedTuple):
    """The location of a record in a journal; a `failed` one has an `error` in place of objects."""

    file: Path
    start: int
    size: int
    failed: bool
    num_objects: int


class Journal:
    """Records of images, by their `file_name`, for resuming an interrupted run.

    The folder lies beside the result, `out`, and has a file for each process. Each line is a record
    with its checksum; the first one has the settings that records depend on. A killed process
    leaves at most one incomplete line, which `open` removes.
    """

    def __init__(self, out: Path, settings: Mapping) -> None:
        out = out if out.name.strip('.') else out.resolve()
        self.folder = out.with_name(f'{out.name}.journal')
        self.settings = json.loads(json.dumps(settings))  # as read from a file: tuples are lists

    def check_new(self, files: Iterable[Path], overwrite: bool) -> None:
        """Check that no result of an earlier, finished run would be replaced.

        Raises:
            FileExistsError: One of the files exists, and there is neither a journal nor
                `overwrite`.
        """
        existing = [str(file) for file in files if file.exists()]
        if existing and not self.folder.is_dir() and not overwrite:
            raise FileExistsError(
                f'There is already {", ".join(existing[:3])}{" ..." * (len(existing) > 3)}. Write '
                'somewhere else, or replace it with overwrite (--overwrite).'
            )

    def open(self, overwrite: bool = False) -> dict[str, Location]:
        """Create the folder or resume from it, in one process before others write.

        Returns `locations()`. Records of other settings are discarded with `overwrite`, otherwise
        they raise a `ValueError`.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for file in self._files():
            changes, end = [], 0
            for location, record in _lines(file):
                if location.start == 0:
                    changes = self._changes(record)
                elif changes and not overwrite:
                    raise ValueError(
                        f'{self.folder} holds an unfinished run with other settings: '
                        f'{"; ".join(changes)}. Go on with those, write somewhere else, or '
                        'forget it with overwrite (--overwrite).'
                    )
                end = location.start + location.size
            with file.open('r+b') as journal:
                journal.truncate(0 if changes else end)
        return self.locations()

    def locations(self) -> dict[str, Location]:
        """The location of each image's record, if there are several of one that did not fail."""
        locations = {}
        for file in self._files():
            for location, record in _lines(file):
                name = record.get('file_name')  # None for the settings
                if name is not None and not (location.failed and name in locations):
                    locations[name] = location
        return locations

    @contextmanager
    def writer(self, rank: int) -> Iterator[Callable[[Mapping], None]]:
        """A function that appends a record to the file of a process, and flushes it."""
        path = self.folder / f'{rank}.jsonl'
        with errors_naming(path), path.open('ab') as file:

            def write(record: Mapping) -> None:
                text = json.dumps(record, separators=(',', ':')).encode()
                file.write(b'%08x %b\n' % (zlib.crc32(text), text))
                file.flush()

            if not file.tell():
                write(dict(journal=VERSION, settings=self.settings))
            yield write

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.folder)

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob('*.jsonl'))

    def _changes(self, header: Mapping) -> list[str]:
        """How the settings of a file differ from these, for messages."""
        old, new = header.get('settings'), self.settings
        if header.get('journal') != VERSION or not isinstance(old, dict):
            return ['its layout is not that of this version']
        return [
            f'{key} was {_shorten(old.get(key))} and is {_shorten(new.get(key))}'
            for key in {**old, **new}
            if old.get(key) != new.get(key)
        ]


def model_settings(predictor: OVSAMPredictor, names: Sequence[str] | None = None) -> dict:
    """The settings of a predictor that results depend on; `names` by default its vocabulary."""
    model, classifier = predictor.model, predictor.classifier
    names = predictor.vocabulary if names is None else names
    value_range = predictor.value_range
    return dict(
        version=__version__,
        model=module_fingerprint(model, without='classifier'),
        test_cfg=model.test_cfg,
        vocabulary=classifier and hash_of([names, module_fingerprint(classifier)]),
        **({} if value_range is None else dict(value_range=value_range)),
    )


def read_record(location: Location) -> dict:
    """The record of an image."""
    with location.file.open('rb') as file:
        file.seek(location.start)
        return json.loads(file.read(location.size)[9:])


def _lines(file: Path) -> Iterator[tuple[Location, dict]]:
    """The records of a file, up to the first incomplete one."""
    start = 0
    with file.open('rb') as journal:
        for line in journal:
            text = line[9:-1]
            if line[-1:] != b'\n' or line[:9] != b'%08x ' % zlib.crc32(text):
                return
            record = json.loads(text)
            num_objects = len(record.get('objects', ()))
            yield Location(file, start, len(line), 'error' in record, num_objects), record
            start += len(line)


def _shorten(value) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f'{text[:57]}...'
