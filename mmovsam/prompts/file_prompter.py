"""Prompts from a file of detection results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample

from ..fileio import read_json
from ..logs import warn
from .boxes import CORNERS, clip_boxes, look_like_corners
from .prompter import Prompter
from .prompts import Prompts
from .result_files import ResultTable, check_suffix, read_results

IMAGES_BEFORE_WARNING = 20


@MODELS.register_module()
class FilePrompter(Prompter):
    """Prompts OVSAM with the boxes in a file of detection results.

    An image's boxes are found by `img_id`, or else by its file name with the folder
    (`'val/1.jpg'`), alone (`'1.jpg'`) or without suffix (`'1'`). An image that is not in the file
    has no prompts. Boxes keep the file's order and are clipped to the image if data samples have
    `ori_shape`. A warning is logged, once each, for boxes that are dropped since they are not
    finite or have no area, that all lie outside their image, or that look like corners.

    Args:
        file: A `.json` list in COCO's results layout (`image_id`, `bbox` as x, y, width, height,
            `score` and optionally `category_id`), as `CocoMetric(outfile_prefix=...)` writes it.
            Read at first use.
        categories: COCO's list of `dict(id=..., name=...)`, or an annotation file with it, read at
            first use. Labels follow the order of the ids.
        filter: Arguments of `PromptFilter`.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If a file is of another kind or broken, an entry lacks a field or has a wrong
            one, no box has an area, or a `category_id` is unknown.
    """

    def __init__(
        self,
        file: str | PathLike,
        categories: str | PathLike | Sequence[Mapping] | None = None,
        filter: Mapping | None = None,
    ) -> None:
        super().__init__(filter)
        check_suffix(file)
        self.file = file
        self.categories = categories
        self._table: ResultTable | None = None
        self._names: dict[int, str] | None = None
        self._num_images, self._has_match, self._has_warned = 0, False, False

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Names of the labels; None without `categories`."""
        if self.categories is None:
            return None
        if self._names is None:
            self._names = _names_by_id(self.categories)
        return tuple(self._names.values())

    @property
    def images(self) -> list[int | str]:
        """The image ids or file names in the file."""
        return list(self._load().images)

    def prompts_of(self, data_sample: DetDataSample) -> Prompts:
        """The boxes of one image, before the filter."""
        table = self._load()
        keys = _image_keys(data_sample)
        key = next((key for key in keys if key in table.images), None)
        self._check_match(keys, key is not None)
        rows = slice(0) if key is None else table.rows_of(key)
        prompts = Prompts(
            bboxes=torch.tensor(table.bboxes[rows]),
            labels=None if table.labels is None else torch.tensor(table.labels[rows]),
            scores=torch.tensor(table.scores[rows]),
        )
        if data_sample.get('ori_shape') is None:
            return prompts
        height, width = data_sample.get('ori_shape')[:2]
        self._check_boxes(prompts.bboxes.numpy(), (width, height), keys[0])
        prompts.bboxes, has_area = clip_boxes(prompts.bboxes, (height, width))
        return prompts[has_area]

    def _check_boxes(self, bboxes: np.ndarray, size: tuple[int, int], image: int | str) -> None:
        """Warn once if boxes (N, 4) xyxy do not fit their image of (W, H) pixels."""
        if self._has_warned or not len(bboxes):
            return
        starts, ends = bboxes[:, :2], bboxes[:, 2:]
        if (np.minimum(ends, size) <= np.maximum(starts, 0)).any(1).all():
            problem = f'lie outside of it, of {size[0]}x{size[1]} pixels, and are dropped'
        elif look_like_corners(np.hstack((starts, ends - starts)), [size] * len(bboxes)):
            problem = CORNERS
        else:
            return
        self._has_warned = True
        warn(f'{self.file}: boxes of {image} {problem}')

    def _check_match(self, keys: list[int | str], is_match: bool) -> None:
        """Warn once if the file seems to be of other images."""
        self._num_images += 1
        self._has_match |= is_match
        at_limit = self._num_images == IMAGES_BEFORE_WARNING
        if at_limit and not self._has_match and self._table.images:
            warn(
                f'{self.file} has boxes of none of the first {self._num_images} images: it knows '
                f'images such as {list(self._table.images)[:3]}, and was asked for {keys}'
            )

    def _load(self) -> ResultTable:
        if self._table is None:
            table = read_results(self.file)
            if self.classes is not None:
                table.labels = self._labels(table)
            finite = np.isfinite(table.bboxes).all(axis=1) & np.isfinite(table.scores)
            has_area = (table.bboxes[:, 2:] > table.bboxes[:, :2]).all(axis=1)
            broken, flat = (~finite).sum(), (finite & ~has_area).sum()
            if broken or flat:
                message = (
                    f'{self.file}: of {len(finite)} boxes {broken} that are not finite and {flat} '
                    'without area are dropped'
                )
                if broken + flat == len(finite):
                    raise ValueError(
                        f'{message}; none is left. The first is {table.bboxes[0].tolist()} as '
                        '[left, top, right, bottom]: COCO has [left, top, width, height] in pixels'
                    )
                warn(message)
            self._table = table.take(finite & has_area)
        return self._table

    def _labels(self, table: ResultTable) -> np.ndarray:
        labels = {category_id: label for label, category_id in enumerate(self._names)}
        used, inverse = np.unique(table.category_ids, return_inverse=True)
        unknown = np.isin(table.category_ids, list(labels), invert=True)
        if unknown.any():
            row = unknown.nonzero()[0][0]
            raise ValueError(
                f'{self.file}: entry {table.entries[row]} has category_id '
                f'{table.category_ids[row]} or none (known: {list(labels)[:9]}); give the '
                'categories that the detector was trained on, or none to go without labels'
            )
        return np.array([labels[i] for i in used.tolist()], np.int64)[inverse]


def _image_keys(data_sample: DetDataSample) -> list[int | str]:
    """Keys that an image may have in a file: its id, then its file name."""
    img_id, img_path = data_sample.get('img_id'), data_sample.get('img_path')
    if img_id is None and img_path is None:
        raise ValueError(
            'FilePrompter needs img_id or img_path: name them in meta_keys of PackDetInputs'
        )
    keys = [] if img_id is None else [img_id]
    if img_path is not None:
        path = Path(img_path)
        keys += ['/'.join(path.parts[-2:]), path.name, path.stem]
    return keys


def _names_by_id(categories: str | PathLike | Sequence[Mapping]) -> dict[int, str]:
    """Names in the order of their ids."""
    content = categories
    if isinstance(categories, (str, PathLike)):
        remedy = "Or give categories as COCO's list, or leave it out to go without labels."
        content = read_json(categories, remedy).get('categories')
    try:
        return {c['id']: str(c['name']) for c in sorted(content, key=lambda c: c['id'])}
    except (KeyError, TypeError) as error:
        raise ValueError(
            'categories must be a list of dict(id=..., name=...) with integers for ids, or a file '
            f"in COCO's layout that has it, got {categories!r:.200} "
            f'({type(error).__name__}: {error})'
        ) from None
