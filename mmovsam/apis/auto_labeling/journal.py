"""What an unfinished run has found so far: a folder of append-only files, one for each process."""

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


class Place(NamedTuple):
    """Where in a journal a record is; one that `failed` has an `error` in place of objects."""

    file: Path
    start: int
    size: int
    failed: bool
    num_objects: int


class Journal:
    """Records of images, by their `file_name`, that outlive the processes that write them.

    The folder lies beside the result, `out`, and has a file for each process. A line is a record
    with its checksum; the first one holds the settings, JSON, that records depend on. A process
    that is killed leaves whole lines and at most one torn one, which `open` cuts off. Nothing else
    changes what is written.
    """

    def __init__(self, out: Path, settings: Mapping) -> None:
        out = out if out.name.strip('.') else out.resolve()
        self.folder = out.with_name(f'{out.name}.journal')
        self.settings = json.loads(json.dumps(settings))  # as a file has them, tuples as lists

    def check_new(self, files: Iterable[Path], overwrite: bool) -> None:
        """Make sure that no result is replaced, unless it is that of a run that goes on.

        Raises:
            FileExistsError: One of the files is there, without a journal or `overwrite`.
        """
        there = [str(file) for file in files if file.exists()]
        if there and not self.folder.is_dir() and not overwrite:
            raise FileExistsError(
                f'There is already {", ".join(there[:3])}{" ..." * (len(there) > 3)}. Write '
                'somewhere else, or replace it with overwrite (--overwrite).'
            )

    def open(self, overwrite: bool = False) -> dict[str, Place]:
        """Make the folder, or take up what is in it. For one process, before others write.

        Returns what `places` does. With `overwrite` records of other settings are forgotten, else
        they are a `ValueError`.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for file in self._files():
            changes, end = [], 0
            for place, record in _lines(file):
                if place.start == 0:
                    changes = self._changes(record)
                elif changes and not overwrite:
                    raise ValueError(
                        f'{self.folder} holds an unfinished run with other settings: '
                        f'{"; ".join(changes)}. Go on with those, write somewhere else, or '
                        'forget it with overwrite (--overwrite).'
                    )
                end = place.start + place.size
            with file.open('r+b') as journal:
                journal.truncate(0 if changes else end)
        return self.places()

    def places(self) -> dict[str, Place]:
        """Where the records are; an image that was tried again has that which did not fail."""
        found = {}
        for file in self._files():
            for place, record in _lines(file):
                name = record.get('file_name')  # none in the settings
                if name is not None and not (place.failed and name in found):
                    found[name] = place
        return found

    @contextmanager
    def writer(self, rank: int) -> Iterator[Callable[[Mapping], None]]:
        """What appends a record to the file of a process, by its number.

        The record is the system's when it returns, whatever befalls the process.
        """
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
        """Forget everything."""
        shutil.rmtree(self.folder)

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob('*.jsonl'))

    def _changes(self, header: Mapping) -> list[str]:
        """How the settings of a file differ, a phrase each."""
        was, now = header.get('settings'), self.settings
        if header.get('journal') != VERSION or not isinstance(was, dict):
            return ['its layout is not that of this version']
        return [
            f'{key} was {_shown(was.get(key))} and is {_shown(now.get(key))}'
            for key in {**was, **now}
            if was.get(key) != now.get(key)
        ]


def model_settings(predictor: OVSAMPredictor, names: Sequence[str] | None = None) -> dict:
    """What records depend on that a predictor finds; `names` are those of its vocabulary."""
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


def read_record(place: Place) -> dict:
    """The record of an image."""
    with place.file.open('rb') as file:
        file.seek(place.start)
        return json.loads(file.read(place.size)[9:])


def _lines(file: Path) -> Iterator[tuple[Place, dict]]:
    """The records of a file, up to the first that is torn."""
    start = 0
    with file.open('rb') as journal:
        for line in journal:
            text = line[9:-1]
            if line[-1:] != b'\n' or line[:9] != b'%08x ' % zlib.crc32(text):
                return
            record = json.loads(text)
            num_objects = len(record.get('objects', ()))
            yield Place(file, start, len(line), 'error' in record, num_objects), record
            start += len(line)


def _shown(value) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f'{text[:57]}...'
