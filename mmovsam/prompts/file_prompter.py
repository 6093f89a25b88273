"""Prompts from a file of detection results."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.logging import print_log

from ..fileio import read_text
from .boxes import clip_boxes
from .detectors import given_classes
from .prompter import Prompter
from .prompts import Prompts
from .result_files import NO_CATEGORY, ResultTable, check_suffix, read_results

IMAGES_BEFORE_DOUBT = 20


@MODELS.register_module()
class FilePrompter(Prompter):
    """Prompts OVSAM with the boxes that a detector left in a file.

    Files with integer ids are matched by the `img_id` of data samples; those with text by an
    `img_id` that is text, else by the image's file name, with its folder's (`'val/1.jpg'`), alone
    (`'1.jpg'`) or without its ending (`'1'`). An image that is not in the file has no prompts.
    Boxes come in the file's order, clipped to the image where data samples have `ori_shape`;
    those that are not finite or have no area are dropped, which the log says once.

    Args:
        file: Read at first use: a `.json` list in COCO's results layout (`image_id`, `bbox` as
            x, y, width, height, `score` and maybe `category_id`), as
            `CocoMetric(outfile_prefix=...)` writes it.
        classes: Names of the labels, or a text file with one on each line. They come of
            `categories`, whose order `classes` may change.
        categories: What `category_id` means: COCO's list of `dict(id=..., name=...)`, or an
            annotation file with it, read at first use. Labels follow the order of the ids. An
            annotation file also tells of boxes whose images it does not have.
        filter: Arguments of `PromptFilter`.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If a file is of another kind or broken, an entry lacks a field or has a wrong
            one, `category_id` is unknown, or no image of the results is in the annotation
            file.
    """

    def __init__(
        self,
        file: str | PathLike,
        classes: str | PathLike | Sequence[str] | None = None,
        categories: str | PathLike | Sequence[Mapping] | None = None,
        filter: Mapping | None = None,
    ) -> None:
        super().__init__(filter)
        check_suffix(file)
        if classes is not None and categories is None:
            raise ValueError(
                f'classes={classes!r} alone do not say which category_id of {file} is which: give '
                'categories, an annotation file or its list of dict(id=..., name=...)'
            )
        self.file = file
        self.categories = categories
        self._classes = None if classes is None else given_classes(classes)
        self._table: ResultTable | None = None
        self._num_images, self._found = 0, False

    @property
    def classes(self) -> tuple[str, ...] | None:
        """What labels are called; None without `classes` and `categories`."""
        if self._classes is None and self.categories is not None:
            self._load()
        return self._classes

    @property
    def images(self) -> list[int | str]:
        """What the file calls its images: ids, or file names."""
        return list(self._load().images)

    def prompts_of(self, data_sample: DetDataSample) -> Prompts:
        """The boxes of one image, in the file's order."""
        table = self._load()
        keys = _keys_of(data_sample)
        known = [key for key in keys if key in table.images]
        self._notice(keys, bool(known))
        rows = table.rows_of(known[0]) if known else slice(0)
        prompts = Prompts(
            bboxes=torch.tensor(table.bboxes[rows]),
            labels=None if table.labels is None else torch.tensor(table.labels[rows]),
            scores=torch.tensor(table.scores[rows]),
        )
        if data_sample.get('ori_shape') is None:
            return prompts
        prompts.bboxes, has_area = clip_boxes(prompts.bboxes, data_sample.get('ori_shape'))
        return prompts[has_area]

    def _notice(self, keys: list[int | str], found: bool) -> None:
        """Warns once if the file seems to be of other images."""
        self._num_images += 1
        self._found |= found
        if self._num_images == IMAGES_BEFORE_DOUBT and not self._found and self._table.images:
            _warn(
                f'{self.file} has boxes of none of the first {self._num_images} images: it knows '
                f'images such as {list(self._table.images)[:3]}, and was asked for {keys}'
            )

    def _load(self) -> ResultTable:
        if self._table is None:
            table = read_results(self.file)
            content = self.categories
            if isinstance(content, (str, PathLike)):
                content = _read_annotations(content)
                self._check_images(table, content.get('images'))
                content = content.get('categories')
            if content is not None:
                self._name(table, _names_by_id(content, self.categories))
            self._table = self._without_bad_boxes(table)
        return self._table

    def _without_bad_boxes(self, table: ResultTable) -> ResultTable:
        finite = np.isfinite(table.bboxes).all(axis=1) & np.isfinite(table.scores)
        has_area = (table.bboxes[:, 2:] > table.bboxes[:, :2]).all(axis=1)
        broken, flat = (~finite).sum(), (finite & ~has_area).sum()
        if broken or flat:
            _warn(
                f'{self.file}: of {len(finite)} boxes {broken} that are not finite and {flat} '
                'without area are dropped'
            )
        return table.take(finite & has_area)

    def _check_images(self, table: ResultTable, images) -> None:
        """Warn of boxes of images that the annotation file does not have."""
        known = set()
        for image in images if isinstance(images, list) else ():
            known |= {image.get('id'), *_names_of(str(image.get('file_name', '')))}
        unknown = [image for image in table.images if image not in known]
        if unknown:
            message = (
                f'{len(unknown)} of the {len(table.images)} images in {self.file} are not in '
                f'{self.categories}, such as {unknown[:3]}'
            )
            if len(unknown) == len(table.images):
                raise ValueError(f'{message}: give the results on the same images')
            _warn(message)

    def _name(self, table: ResultTable, names: dict[int, str]) -> None:
        """Makes labels of category ids."""
        if self._classes is None:
            self._classes = tuple(names.values())
        places = {name: label for label, name in enumerate(self._classes)}
        absent = [name for name in names.values() if name not in places]
        used, inverse = np.unique(table.category_ids, return_inverse=True)
        labels = np.array([places.get(names.get(i), -1) for i in used.tolist()], np.int64)
        table.labels = labels[inverse]
        if (labels < 0).any():
            row = (table.labels < 0).nonzero()[0][0]
            category_id = table.category_ids[row]
            found = 'no category_id' if category_id == NO_CATEGORY else f'category_id {category_id}'
            name = names.get(int(category_id))
            problem = f'{name!r}, not in classes' if name in absent else f'known: {list(names)[:9]}'
            raise ValueError(
                f'{self.file}: entry {table.entries[row]} has {found} ({problem}); give the '
                'categories that the detector was trained on, or none to go without labels'
            )


def _warn(message: str) -> None:
    print_log(message, logger='current', level=logging.WARNING)


def _keys_of(data_sample: DetDataSample) -> list[int | str]:
    """What an image may be called in a file: its id, then its file name."""
    img_id, img_path = data_sample.get('img_id'), data_sample.get('img_path')
    if img_id is None and img_path is None:
        raise ValueError(
            'FilePrompter needs img_id or img_path in the data sample: name them in meta_keys of '
            'PackDetInputs'
        )
    names = [] if img_path is None else _names_of(str(img_path))
    return names if img_id is None else [img_id, *names]


def _names_of(path: str) -> list[str]:
    path = Path(path)
    return ['/'.join(path.parts[-2:]), path.name, path.stem]


def _read_annotations(path: str | PathLike) -> dict:
    try:
        text = read_text(path)
    except FileNotFoundError:
        raise FileNotFoundError(
            f'there is no annotation file {path} (the working folder is {Path.cwd()}); give '
            "categories as COCO's list instead, or leave it out to go without labels"
        ) from None
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{path} is truncated or not JSON ({error}); get it again') from None
    if not isinstance(content, dict) or 'categories' not in content:
        raise ValueError(
            f"{path} has no categories; give an annotation file in COCO's layout, or its list"
        )
    return content


def _names_by_id(categories, source) -> dict[int, str]:
    """Names in the order of their ids."""
    try:
        return {c['id']: str(c['name']) for c in sorted(categories, key=lambda c: c['id'])}
    except (KeyError, TypeError) as error:
        raise ValueError(
            f'categories must be a list of dict(id=..., name=...) with integers for ids, got '
            f'{source!r:.200} ({type(error).__name__}: {error})'
        ) from None
