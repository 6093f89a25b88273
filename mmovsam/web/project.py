"""The objects of pictures as JSON: what a browser keeps, and project files.

Both may have been changed by others before they come back, so that everything in them is checked.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..datasets.annotations import run_lengths
from .labels import LabeledObject

FORMAT, VERSION = 'mmovsam project', 1
MAX_PIXELS = 2**31  # run lengths are 32 bits wide in pycocotools


def content_key(image: np.ndarray, data: bytes | None = None) -> str:
    """SHA-256, in hexadecimal, of an image's file, or of its pixels if it came as an array."""
    if data is None:
        data = str(image.shape).encode() + image.tobytes()
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class LabeledPicture:
    """A picture, known by its content, and the objects in it."""

    key: str
    """See `content_key`."""
    file_name: str
    shape: tuple[int, int]
    """Height and width in pixels."""
    objects: tuple[LabeledObject, ...]

    def to_json(self) -> str:
        """As `from_json` reads it."""
        return json.dumps(self.as_record(), separators=(',', ':'))

    def as_record(self) -> dict:
        """As `from_record` reads it; of its objects what cannot be computed."""
        objects = []
        for thing in self.objects:
            record = thing.as_record()
            objects.append({key: record[key] for key in ('name', 'top_k', 'counts')})
        height, width = self.shape
        return dict(
            key=self.key, file_name=self.file_name, width=width, height=height, objects=objects
        )

    @classmethod
    def from_json(cls, text: str) -> LabeledPicture:
        """Read what `to_json` wrote.

        Raises:
            ValueError: The text is damaged.
        """
        return cls.from_record(_parse(text))

    @classmethod
    def from_record(cls, record: object) -> LabeledPicture:
        """Read what `as_record` made; its objects are numbered from 1.

        Raises:
            ValueError: A value is missing or wrong, such as run lengths of another size.
        """
        key, file_name = _get(record, 'key', str), _get(record, 'file_name', str)
        if not re.fullmatch('[0-9a-f]{64}', key):
            raise ValueError(f'{key!r:.80} is no SHA-256 of a picture')
        shape = _get(record, 'height', int), _get(record, 'width', int)
        if min(shape) < 1 or shape[0] * shape[1] > MAX_PIXELS:
            raise ValueError(f'{shape[1]}x{shape[0]} is no size of a picture')
        objects = []
        for number, thing in enumerate(_get(record, 'objects', list), 1):
            try:
                objects.append(_read_object(number, thing, shape))
            except ValueError as error:
                raise ValueError(f'object {number}: {error}') from None
        return cls(key, _checked_name(Path(file_name).name), shape, tuple(objects))


def _read_object(number: int, record: object, shape: tuple[int, int]) -> LabeledObject:
    top_k = _get(record, 'top_k', list)
    scores = tuple(float(_get(each, 'score', (int, float))) for each in top_k)
    if not all(0 <= score <= 1 for score in scores):
        raise ValueError(f'scores are from 0 to 1, not {scores!r:.80}')
    return LabeledObject(
        number,
        _checked_name(_get(record, 'name', str)),
        tuple(_checked_name(_get(each, 'name', str)) for each in top_k),
        scores,
        dict(size=list(shape), counts=_checked_counts(_get(record, 'counts', str), shape)),
    )


def _checked_name(name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ValueError(f'the name {name!a:.80} is no text') from None
    if not name.strip():
        raise ValueError('a name is blank')
    return name


def _checked_counts(counts: str, shape: tuple[int, int]) -> str:
    """COCO's compressed run lengths, if they make a mask of this shape that is not empty."""
    try:
        runs = run_lengths(counts)
    except ValueError as error:
        raise ValueError(f'{counts!r:.40} are no run lengths: {error}') from None
    height, width = shape
    if runs.min() < 0 or runs.sum() != height * width or not runs[1::2].any():
        raise ValueError(f'run lengths {counts!r:.40} are no mask of {width}x{height} pixels')
    return counts


def _get(record: object, key: str, kind: type | tuple[type, ...]):
    value = record.get(key) if isinstance(record, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f'{key} is missing or wrong: {value!r:.80}')
    return value


def _parse(text: str | bytes) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f'it is cut off or no JSON ({error})') from None


def write_project(pictures: Iterable[LabeledPicture]) -> bytes:
    """A project file, UTF-8 JSON, as `read_project` reads it."""
    records = ',\n'.join(picture.to_json() for picture in pictures)
    head = json.dumps(dict(format=FORMAT, version=VERSION))
    return f'{head[:-1]}, "pictures": [\n{records}\n]}}\n'.encode()


def read_project(text: str, name: str = 'The file') -> list[LabeledPicture]:
    """Read a whole project file.

    Args:
        text: Its content.
        name: What errors call it.

    Raises:
        ValueError: It is damaged, of a later version, or another file; nothing of it is used then.
    """
    try:
        content = _parse(text)
        if not isinstance(content, dict) or content.get('format') != FORMAT:
            raise ValueError('it was not saved by "Save project"')
        if content.get('version') != VERSION:
            raise ValueError(
                f'its version is {content.get("version")!r:.20}, this program reads {VERSION}'
            )
        pictures = {}
        for number, record in enumerate(_get(content, 'pictures', list), 1):
            try:
                picture = LabeledPicture.from_record(record)
            except ValueError as error:
                raise ValueError(f'picture {number}: {error}') from None
            if pictures.setdefault(picture.key, picture) is not picture:
                raise ValueError(f'picture {number} is there twice')
    except ValueError as error:
        raise ValueError(f'{name} was not opened: {error}. Nothing was changed.') from None
    return list(pictures.values())
