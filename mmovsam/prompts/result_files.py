"""Files of detection results in COCO's layout."""

from __future__ import annotations

import json
from array import array
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ..fileio import read_text, unique_keys
from ..validation import require_file
from .boxes import check_units

PICKLES = ('.pkl', '.pickle')
NO_CATEGORY = np.iinfo(np.int64).min
EXPECTED = (
    'expected a list of results such as '
    '[{"image_id": 1, "bbox": [x, y, width, height], "score": 0.5, "category_id": 1}, ...]'
)


@dataclass
class ResultTable:
    """The M boxes of a results file, sorted by image and within an image in the file's order.

    Args:
        images: Image indices by the file's image ids, which are integers or text.
        image_indices: (M,) int64, the image of each box, ascending.
        entries: (M,) int64, positions in the file, for messages.
        bboxes: (M, 4) float32, xyxy in pixels of the original image.
        scores: (M,) float32.
        category_ids: (M,) int64, COCO's ids, `NO_CATEGORY` where an entry has none.
        labels: (M,) int64, indices of categories in the order of their ids, if these are known.
    """

    images: dict[int | str, int]
    image_indices: np.ndarray
    entries: np.ndarray
    bboxes: np.ndarray
    scores: np.ndarray
    category_ids: np.ndarray
    labels: np.ndarray | None = None

    def rows_of(self, image: int | str) -> slice:
        """The rows of an image's boxes."""
        index = self.images[image]
        return slice(*np.searchsorted(self.image_indices, (index, index + 1)))

    def take(self, rows: np.ndarray) -> ResultTable:
        """The table with some rows, by a mask or by indices, and all images."""
        images, *columns = vars(self).values()
        return ResultTable(images, *(None if c is None else c[rows] for c in columns))


def check_suffix(path: str | PathLike) -> None:
    """Raise a `ValueError` if a results file is no `.json` by its name."""
    suffix = Path(path).suffix
    if suffix in PICKLES:
        raise ValueError(
            f'{path} is a pickle, which is a program and is not read. Test the detector with '
            '--cfg-options test_evaluator.outfile_prefix=results and give results.bbox.json'
        )
    if suffix != '.json':
        raise ValueError(f'results must be a .json file in the layout of COCO, got {path}')


def read_results(path: str | PathLike) -> ResultTable:
    """Read a `.json` file of `CocoMetric(outfile_prefix=...)`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is of another kind or broken, an entry lacks a field or has a wrong one,
            boxes are in fractions of the image, or scores in percent or logits.
    """
    check_suffix(path)
    require_file(
        path,
        'results file',
        'A test of the detector with --cfg-options test_evaluator.outfile_prefix=PREFIX writes it.',
    )
    images: dict[int | str, int] = {}
    image_indices, category_ids, values = array('q'), array('q'), array('d')

    def take(pairs: list[tuple[str, Any]]) -> dict | None:
        """Moves a parsed result into the columns, so that memory holds no list of dicts."""
        try:
            entry = unique_keys(pairs)
        except ValueError as error:
            raise ValueError(f'{path}: {error}; expected it once') from None
        if 'image_id' not in entry:
            return entry  # the mask of a result, or no result at all, which is found below
        where = f'{path}: entry {len(image_indices)}'
        image, bbox, score = (entry.get(key) for key in ('image_id', 'bbox', 'score'))
        category_id = entry.get('category_id', NO_CATEGORY)
        image, category_id = map(_as_integer, (image, category_id))
        if isinstance(image, bool) or not isinstance(image, (int, str)):
            raise ValueError(f'{where} has image_id {image!r}, expected an integer or text')
        if not (isinstance(bbox, list) and len(bbox) == 4 and all(map(_is_number, bbox))):
            raise ValueError(
                f'{where} has bbox {bbox!r}, expected four numbers x, y, width, height in pixels'
            )
        if not _is_number(score):
            raise ValueError(
                f'{where} has score {score!r}, expected a number; results of a detector have one, '
                'annotations have none (GTPrompter prompts by these)'
            )
        if isinstance(category_id, bool) or not isinstance(category_id, int):
            raise ValueError(f'{where} has category_id {category_id!r}, expected an integer')
        image_indices.append(images.setdefault(image, len(images)))
        values.extend((*bbox, score))
        category_ids.append(category_id)
        return None

    text = read_text(path)
    try:
        content = json.loads(text, object_pairs_hook=take)
    except (json.JSONDecodeError, RecursionError, OverflowError) as error:
        raise ValueError(
            f'{path} is truncated or not JSON ({error}); write it again, {EXPECTED}'
        ) from None
    if not isinstance(content, list):
        raise ValueError(f'{path} holds no list, {EXPECTED}')
    for i, entry in enumerate(content):
        if entry is not None:
            raise ValueError(f'{path}: entry {i} has no image_id: {entry!r:.100}; {EXPECTED}')
    values = np.asarray(values).reshape(-1, 5)
    bboxes, scores = values[:, :4], values[:, 4]
    try:
        check_units(bboxes, scores)
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from None
    bboxes[:, 2:] += bboxes[:, :2]
    image_indices = np.asarray(image_indices)
    table = ResultTable(
        images,
        image_indices,
        np.arange(len(image_indices)),
        bboxes.astype(np.float32),
        scores.astype(np.float32),
        np.asarray(category_ids),
    )
    return table.take(image_indices.argsort(kind='stable'))


def _as_integer(value: Any) -> Any:
    """Integers for floats such as 1.0, as spreadsheets write them; other values as they are."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
