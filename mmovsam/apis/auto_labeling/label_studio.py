"""Converts labels to Label Studio's regions, and tasks with predictions."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path, PurePosixPath
from urllib.parse import quote

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from ...fileio import read_text
from ...version import __version__
from ..polygons import mask_to_polygons
from .label_config import KINDS, Label, LabelSet, make_label_config, parse_label_config

LOCAL_FILES = '/data/local-files'  # URL path of Label Studio's local files
CHANNELS = 4  # of a brush mask: RGBA with equal values, 255 inside of the mask and 0 outside
VALUE_BITS = 8
RUN_BITS = np.array([3, 4, 8, 16])  # widths of the lengths of runs
MAX_RUN = 1 << RUN_BITS[-1]


def mask_regions(
    mask: np.ndarray, label: Label, to_name: str, score: float, note: str, page: int | None = None
) -> list[dict]:
    """Convert a mask `(H, W)` bool to regions of its label's type, one for each polygon.

    `to_name` is the name of the `<Image>`, `note` a text shown with the regions, and `page` the
    index in an `<Image valueList="...">`. An empty mask has no region.
    """
    height, width = mask.shape
    if not mask.any():
        return []
    if label.type == 'brushlabels':
        values = [dict(format='rle', rle=encode_brush(mask))]
    elif label.type == 'polygonlabels':
        polygons = (polygon / (width, height) * 100 for polygon in mask_to_polygons(mask))
        values = [dict(points=polygon.tolist(), closed=True) for polygon in polygons]
    else:
        bbox = np.array(cv2.boundingRect(mask.astype(np.uint8)))
        percent = (100 * bbox / (width, height, width, height)).tolist()
        values = [dict(zip(('x', 'y', 'width', 'height'), percent), rotation=0)]
    return [
        dict(
            id=uuid.uuid4().hex[:10],
            type=label.type,
            from_name=label.from_name,
            to_name=to_name,
            original_width=width,
            original_height=height,
            image_rotation=0,
            value={**value, label.type: [label.stored]},
            score=score,
            meta=dict(text=[note]),
            **({} if page is None else dict(item_index=page)),
        )
        for value in values
    ]


def name_note(names: Sequence[str], scores: Sequence[float]) -> str:
    """The best name, and others of at least 1%, as the note of a region."""
    indices = [i for i in range(len(names)) if i == 0 or scores[i] >= 0.01]
    return ', '.join(f'{names[i]} {scores[i]:.0%}' for i in indices)


def read_label_config(file: str | PathLike) -> tuple[str, LabelSet]:
    """The text and the labels of a file with a label config for one image."""
    config = read_text(file)
    label_sets = parse_label_config(config)
    if len(label_sets) > 1:
        raise ValueError(f'{file} has labels for {len(label_sets)} images; a task here has one.')
    return config, *label_sets.values()


def label_config_of(
    names: Sequence[str], file: str | PathLike | None = None, polygons: bool = False
) -> str:
    """The label config of a file, or one with brush masks or polygons, for the given names.

    Raises:
        ValueError: The file has no valid label config, labels for several images, or lacks a name.
    """
    if file is None:
        return make_label_config(names, KINDS[polygons])
    config, label_set = read_label_config(file)
    labels = {label.name for label in label_set.labels}
    missing = [name for name in names if name not in labels]
    if missing:
        raise ValueError(
            f'{file} has no <Label> for {len(missing)} of the {len(names)} names, such as '
            f'{", ".join(missing[:3])}: add them, or give its labels as the vocabulary.'
        )
    return config


def label_studio_tasks(
    records: Iterable[Mapping], images: Mapping[str, Path], config: str
) -> Iterator[dict]:
    """Label Studio's tasks with predictions of records, whose names the label config must have.

    Images are local files of Label Studio, relative to the parent of their folder:
    `/data/local-files/?d=photos/1.jpg` for `1.jpg` of `photos/`.
    """
    ((to_name, label_set),) = parse_label_config(config).items()
    labels = {label.name: label for label in label_set.labels}
    for record in records:
        name, result = PurePosixPath(record['file_name']), []
        for thing in record['objects']:
            size = [record['height'], record['width']]
            mask = coco_mask.decode(dict(size=size, counts=thing['counts'])).astype(bool)
            names, scores = ([best[key] for best in thing['top_k']] for key in ('name', 'score'))
            note = name_note(names, scores)
            page = 0 if label_set.has_pages else None
            result += mask_regions(mask, labels[thing['name']], to_name, thing['score'], note, page)
        for number, region in enumerate(result, 1):
            region['id'] = str(number)  # deterministic
        folder = images[record['file_name']].absolute().parents[len(name.parts) - 1].name
        url = f'{LOCAL_FILES}/?d={quote(os.fsencode(f"{folder}/{name}"))}'
        yield dict(
            data={label_set.image_key: [url] if label_set.has_pages else url},
            predictions=[prediction(result, f'mmovsam {__version__}')] if result else [],
        )


def prediction(result: Sequence[Mapping], model_version: str) -> dict:
    """A prediction with the given regions and the mean of their scores."""
    score = sum(region['score'] for region in result) / max(len(result), 1)
    return dict(result=result, score=score, model_version=model_version)


def encode_brush(mask: np.ndarray) -> list[int]:
    """Encode a mask `(H, W)` bool as the `rle` bytes of a brush region.

    The format is that of the JavaScript package `@thi.ng/rle-pack`. The header has 32 bits for the
    number of values, 5 for the width of a value less 1 and 4 for each width in `RUN_BITS` less 1. A
    run is a bit 1, 2 bits for the index of the width of its length, the length less 1, and the
    value.
    """
    flat = mask.ravel()
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    lengths = np.diff(starts, append=flat.size) * CHANNELS
    counts = -(-lengths // MAX_RUN)  # longer runs are several
    runs = np.full(counts.sum(), MAX_RUN)
    runs[counts.cumsum() - 1] = lengths - (counts - 1) * MAX_RUN
    values = np.repeat(np.where(flat[starts], 255, 0), counts)
    index = np.searchsorted(1 << RUN_BITS, runs)
    codes = ((4 | index) << RUN_BITS[index] | runs - 1) << VALUE_BITS | values
    codes = np.concatenate([[flat.size * CHANNELS, VALUE_BITS - 1, *(RUN_BITS - 1)], codes])
    widths = np.concatenate([[32, 5, *[4] * len(RUN_BITS)], 3 + RUN_BITS[index] + VALUE_BITS])
    # concatenate the lowest `width` bits of all codes
    ends = np.repeat(widths.cumsum(), widths)
    bits = np.repeat(codes, widths) >> (ends - 1 - np.arange(len(ends))) & 1
    return np.packbits(bits.astype(np.uint8)).tolist()
