"""Files of detection results, as tables of boxes."""

from __future__ import annotations

import json
from array import array
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ..fileio import once, read_text
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
    """The M boxes of a results file, image by image and within an image in the file's order.

    Args:
        images: The images' numbers, by their ids or, without ids, by file names with the folder's.
        owners: (M,) int64, the number of each box's image, ascending.
        entries: (M,) int64, where in the file a box is, for messages.
        bboxes: (M, 4) float32, xyxy in pixels of the original image.
        scores: (M,) float32.
        category_ids: (M,) int64, COCO's ids, `NO_CATEGORY` where an entry has none.
        labels: (M,) int64, indices of categories in the order of their ids; None without these.
    """

    images: dict[int | str, int]
    owners: np.ndarray
    entries: np.ndarray
    bboxes: np.ndarray
    scores: np.ndarray
    category_ids: np.ndarray
    labels: np.ndarray | None = None

    def rows_of(self, image: int | str) -> slice:
        """Where the boxes of an image are."""
        number = self.images[image]
        return slice(*np.searchsorted(self.owners, (number, number + 1)))

    def take(self, rows: np.ndarray) -> ResultTable:
        """Some of the rows, by a mask or by their numbers; images stay known."""
        images, *columns = vars(self).values()
        return ResultTable(images, *(None if c is None else c[rows] for c in columns))


def check_suffix(path: str | PathLike) -> None:
    """Make sure that a file may hold results in COCO's layout, by its name."""
    suffix = Path(path).suffix
    if suffix in PICKLES:
        raise ValueError(
            f'{path} is a pickle, which is a program and is not read. Test the detector with '
            '--cfg-options test_evaluator.outfile_prefix=results and give results.bbox.json'
        )
    if suffix != '.json':
        raise ValueError(f'results must be a .json file in the layout of COCO, got {path}')


def read_results(path: str | PathLike) -> ResultTable:
    """Read a `.json` file in COCO's results layout, as `CocoMetric(outfile_prefix=...)` writes it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is of another kind, broken, an entry lacks a field or has a wrong one, or
            boxes are in fractions of the image, scores in percent or logits.
    """
    check_suffix(path)
    require_file(
        path,
        'results file',
        'A test of the detector with --cfg-options test_evaluator.outfile_prefix=PREFIX writes it.',
    )
    images: dict[int | str, int] = {}
    owners, category_ids, numbers = array('q'), array('q'), array('d')

    def take(pairs: list[tuple[str, Any]]) -> dict | None:
        """Moves a result into the columns once it is parsed, so that no list of them grows."""
        try:
            entry = once(pairs)
        except ValueError as error:
            raise ValueError(f'{path}: {error}; expected it once') from None
        if 'image_id' not in entry:
            return entry  # the mask of a result; what is no result at all is found below
        where = f'{path}: entry {len(owners)}'
        image, bbox, score = (entry.get(key) for key in ('image_id', 'bbox', 'score'))
        category_id = entry.get('category_id', NO_CATEGORY)
        image, category_id = map(_whole, (image, category_id))
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
        owners.append(images.setdefault(image, len(images)))
        numbers.extend((*bbox, score))
        category_ids.append(category_id)
        return None

    text = read_text(path)
    try:
        rest = json.loads(text, object_pairs_hook=take)
    except (json.JSONDecodeError, RecursionError, OverflowError) as error:
        raise ValueError(
            f'{path} is truncated or not JSON ({error}); write it again, {EXPECTED}'
        ) from None
    if not isinstance(rest, list):
        raise ValueError(f'{path} holds no list, {EXPECTED}')
    for i, left in enumerate(rest):
        if left is not None:
            raise ValueError(f'{path}: entry {i} has no image_id: {left!r:.100}; {EXPECTED}')
    numbers = np.asarray(numbers).reshape(-1, 5)
    try:
        check_units(numbers[:, :4], numbers[:, 4])
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from None
    numbers[:, 2:4] += numbers[:, :2]
    bboxes, scores = numbers[:, :4].astype(np.float32), numbers[:, 4].astype(np.float32)
    owners, category_ids = np.asarray(owners), np.asarray(category_ids)
    table = ResultTable(images, owners, np.arange(len(owners)), bboxes, scores, category_ids)
    return table.take(owners.argsort(kind='stable'))


def _whole(value: Any) -> Any:
    """A whole number for one like 1.0, as tables of programs have them."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
