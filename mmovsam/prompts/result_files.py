"""Files of detection results, as tables of boxes."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .data_pickle import Record, load_data_pickle

SUFFIXES = ('.json', '.pkl', '.pickle')
NO_CATEGORY = np.iinfo(np.int64).min


@dataclass
class ResultTable:
    """The M boxes of a results file, image by image and within an image in the file's order.

    Args:
        places: Which rows are of an image: `start, stop` by its id or, where the file has no ids,
            by its file name with the folder's.
        entries: (M,) int64, where in the file a box is, for messages.
        bboxes: (M, 4) float32, xyxy in pixels of the original image.
        scores: (M,) float32.
        labels: (M,) int64, indices into a detector's classes; None in a file without them.
        category_ids: (M,) int64, COCO's ids, `NO_CATEGORY` where an entry has none; None in a file
            without them.
    """

    places: dict[int | str, tuple[int, int]]
    entries: np.ndarray
    bboxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray | None = None
    category_ids: np.ndarray | None = None

    @classmethod
    def of_images(cls, images: Mapping[int | str, int], owners: np.ndarray, **columns):
        """A table of rows in any order.

        Args:
            images: Their ids or names, each with its number.
            owners: (M,) the number of each row's image.
            **columns: The rows' other fields.
        """
        order = owners.argsort(kind='stable')
        edges = np.searchsorted(owners[order], np.arange(len(images) + 1)).tolist()
        places = {image: (edges[i], edges[i + 1]) for image, i in images.items()}
        columns = {name: None if c is None else c[order] for name, c in columns.items()}
        return cls(places, order, **columns)

    def take(self, kept: np.ndarray) -> ResultTable:
        """The table without some of its rows; images stay known.

        Args:
            kept: (M,) bool.
        """
        before = np.concatenate(([0], kept.cumsum()))
        places = {
            image: (int(before[start]), int(before[stop]))
            for image, (start, stop) in self.places.items()
        }
        columns = (self.entries, self.bboxes, self.scores, self.labels, self.category_ids)
        return ResultTable(places, *(None if c is None else c[kept] for c in columns))


def read_results(path: str | PathLike) -> ResultTable:
    """Read a file of detection results.

    Args:
        path: `.json`, a list in COCO's results layout, as `CocoMetric(outfile_prefix=...)` writes
            it; or `.pkl`, as `tools/test.py --out` (`DumpDetResults`) or `DumpProposals` write it.
            A pickle is read as data: nothing in it is run.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is of another kind, broken, or an entry lacks a field or has a wrong one.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(
            f'there is no results file {path} (the working folder is {Path.cwd()}); write it with '
            'tools/test.py --out FILE.pkl of the detector, or CocoMetric(outfile_prefix=...)'
        )
    return _read_json(path) if Path(path).suffix == '.json' else _read_pickle(path)


def _read_json(path: str | PathLike) -> ResultTable:
    images: dict[int | str, int] = {}
    owners, category_ids, numbers = array('q'), array('q'), array('d')

    def take(entry: dict) -> dict | None:
        """Moves a result into the columns once it is parsed, so that no list of them grows."""
        if 'image_id' not in entry:
            return entry  # the mask of a result; what is no result at all is found below
        where = f'{path}: entry {len(owners)}'
        image, bbox = entry['image_id'], entry.get('bbox')
        if isinstance(image, bool) or not isinstance(image, (int, str)):
            raise ValueError(f'{where} has image_id {image!r}, expected an integer or text')
        if not (isinstance(bbox, list) and len(bbox) == 4 and all(map(_is_number, bbox))):
            raise ValueError(
                f'{where} has bbox {bbox!r}, expected four numbers x, y, width, height in pixels'
            )
        if not _is_number(entry.get('score')):
            raise ValueError(
                f'{where} has score {entry.get("score")!r}, expected a number; results of a '
                'detector have one, annotations have none (GTPrompter prompts by these)'
            )
        category_id = entry.get('category_id', NO_CATEGORY)
        if isinstance(category_id, bool) or not isinstance(category_id, int):
            raise ValueError(f'{where} has category_id {category_id!r}, expected an integer')
        owners.append(images.setdefault(image, len(images)))
        numbers.extend(bbox)
        numbers.append(entry['score'])
        category_ids.append(category_id)
        return None

    expected = (
        'expected a list of results such as '
        '[{"image_id": 1, "bbox": [x, y, width, height], "score": 0.5, "category_id": 1}, ...]'
    )
    try:
        with open(path, encoding='utf-8') as file:
            rest = json.load(file, object_hook=take)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError, OverflowError) as error:
        raise ValueError(
            f'{path} is truncated or not JSON ({error}); write it again, {expected}'
        ) from None
    if not isinstance(rest, list):
        raise ValueError(f'{path} holds no list, {expected}')
    for i, left in enumerate(rest):
        if left is not None:
            raise ValueError(f'{path}: entry {i} has no image_id: {left!r:.100}; {expected}')
    numbers = np.asarray(numbers).reshape(-1, 5)
    bboxes = np.concatenate((numbers[:, :2], numbers[:, :2] + numbers[:, 2:4]), axis=1)
    return ResultTable.of_images(
        images,
        np.asarray(owners),
        bboxes=bboxes.astype(np.float32),
        scores=numbers[:, 4].astype(np.float32),
        category_ids=np.asarray(category_ids),
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _read_pickle(path: str | PathLike) -> ResultTable:
    content = load_data_pickle(path)
    images: dict[int | str, int] = {}
    owners, parts = [], []
    for where, image, instances in _images_of(content, path):
        part = [_column(instances, name, where) for name in ('bboxes', 'scores', 'labels')]
        sizes = [len(column) for column in part if column is not None]
        if len(set(sizes)) > 1:
            raise ValueError(f'{where} has bboxes, scores and labels of lengths {sizes}')
        owners.append(np.full(sizes[0], images.setdefault(image, len(images)), np.int64))
        parts.append(part)
    bboxes, scores, labels = zip(*parts) if parts else ([], [], [])
    labelled = bool(labels) and all(column is not None for column in labels)
    return ResultTable.of_images(
        images,
        np.concatenate(owners or [np.zeros(0, np.int64)]),
        bboxes=np.concatenate(bboxes or [np.zeros((0, 4))]).astype(np.float32),
        scores=np.concatenate(scores or [np.zeros(0)]).astype(np.float32),
        labels=np.concatenate(labels).astype(np.int64) if labelled else None,
    )


def _images_of(content: Any, path: str | PathLike) -> Iterable[tuple[str, int | str, Mapping]]:
    """Each image of a pickle: how to speak of it, its id or name, its instances."""
    if isinstance(content, Mapping):  # DumpProposals
        for name, instances in content.items():
            yield f'{path}: {name!r}', name, _fields(instances)
        return
    if not isinstance(content, list):
        raise ValueError(
            f'{path} holds {type(content).__name__}, expected what tools/test.py --out writes'
        )
    for i, entry in enumerate(content):
        where = f'{path}: entry {i}'
        entry = _fields(entry)
        if not isinstance(entry.get('pred_instances'), (Mapping, Record)):
            raise ValueError(
                f'{where} has no pred_instances, expected what tools/test.py --out of MMDetection '
                '3 writes (2 wrote boxes alone, without their images)'
            )
        image = entry.get('img_id')
        if image is None and isinstance(entry.get('img_path'), str):
            image = '/'.join(Path(entry['img_path']).parts[-2:])
        if isinstance(image, np.integer):
            image = int(image)
        if not isinstance(image, (int, str)):
            raise ValueError(
                f'{where} has img_id {image!r}, expected an integer or text: name it in meta_keys '
                "of PackDetInputs in the detector's test pipeline"
            )
        yield where, image, _fields(entry['pred_instances'])


def _fields(instances: Any) -> Mapping:
    if isinstance(instances, Record):
        return vars(instances)
    return instances if isinstance(instances, Mapping) else {}


def _column(instances: Mapping, name: str, where: str) -> np.ndarray | None:
    """One field of an image's instances as an array; only labels may be absent."""
    value = instances.get(name)
    if value is None and name == 'labels':
        return None
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        value = value.float()  # numpy has no bfloat16
    column = np.asarray(value)
    fits = column.shape[1:] == (4,) if name == 'bboxes' else column.ndim == 1
    if not fits or not np.issubdtype(column.dtype, np.number):
        found = 'no' if value is None else f'{column.dtype} {column.shape}'
        wanted = '(N, 4), xyxy in pixels' if name == 'bboxes' else '(N,)'
        raise ValueError(f'{where} has {found} {name}, expected numbers of shape {wanted}')
    return column
