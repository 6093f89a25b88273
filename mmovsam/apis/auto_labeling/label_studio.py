"""Labels as Label Studio has them: regions of masks, and tasks with predictions."""

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

LOCAL_FILES = '/data/local-files'  # where Label Studio serves files of its server
CHANNELS = 4  # of a brush mask: RGBA, all alike, 255 inside the mask and 0 outside
VALUE_BITS = 8
RUN_BITS = np.array([3, 4, 8, 16])  # a run says which of these widths its length has
LONGEST = 1 << RUN_BITS[-1]


def mask_regions(
    mask: np.ndarray, label: Label, to_name: str, score: float, note: str, page: int | None = None
) -> list[dict]:
    """A mask `(H, W)` bool as regions that Label Studio shows and stores, of the type of its label.

    A brush mask or a rectangle is one region. Of polygons each piece of the mask is one, see
    `mask_to_polygons`. An empty mask has none. `to_name` is the name of the `<Image>`, `note` what
    is shown with the region, `page` which image of an `<Image valueList="...">` it is, from 0.
    """
    height, width = mask.shape
    if not mask.any():
        return []
    if label.type == 'brushlabels':
        values = [dict(format='rle', rle=encode_brush(mask))]
    elif label.type == 'polygonlabels':
        pieces = (piece / (width, height) * 100 for piece in mask_to_polygons(mask))
        values = [dict(points=piece.tolist(), closed=True) for piece in pieces]
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
    """The best name, and the others that are not all but impossible, as a note of a region."""
    shown = [i for i in range(len(names)) if i == 0 or scores[i] >= 0.01]
    return ', '.join(f'{names[i]} {scores[i]:.0%}' for i in shown)


def read_label_config(file: str | PathLike) -> tuple[str, LabelSet]:
    """The text and the labels of a file with a label config for one image."""
    config = read_text(file)
    sets = parse_label_config(config)
    if len(sets) > 1:
        raise ValueError(f'{file} has labels for {len(sets)} images; a task here has one.')
    return config, *sets.values()


def label_config_of(
    names: Sequence[str], file: str | PathLike | None = None, polygons: bool = False
) -> str:
    """The label config of tasks with objects of some names: that of a file, or one made for them.

    One that is made has brush masks, or polygons. A `ValueError` says if that of the file is none,
    has labels for several images, or lacks a name.
    """
    if file is None:
        return make_label_config(names, KINDS[polygons])
    config, labels = read_label_config(file)
    missing = [name for name in names if name not in {label.name for label in labels.labels}]
    if missing:
        raise ValueError(
            f'{file} has no <Label> for {len(missing)} of the {len(names)} names, such as '
            f'{", ".join(missing[:3])}: add them, or give its labels as the vocabulary.'
        )
    return config


def label_studio_tasks(
    records: Iterable[Mapping], images: Mapping[str, Path], config: str
) -> Iterator[dict]:
    """Tasks with predictions, as Label Studio imports them.

    An image is a local file of Label Studio's, in the folder of the images as its parent has it:
    `/data/local-files/?d=photos/1.jpg` for `1.jpg` of `photos/`. The label config has a label for
    each name of the records.
    """
    ((to_name, label_set),) = parse_label_config(config).items()
    labels = {label.name: label for label in label_set.labels}
    for record in records:
        name, result = PurePosixPath(record['file_name']), []
        for thing in record['objects']:
            size = [record['height'], record['width']]
            mask = coco_mask.decode(dict(size=size, counts=thing['counts'])).astype(bool)
            best = thing['top_k']
            note = name_note([each['name'] for each in best], [each['score'] for each in best])
            page = 0 if label_set.has_pages else None
            result += mask_regions(mask, labels[thing['name']], to_name, thing['score'], note, page)
        for number, region in enumerate(result, 1):
            region['id'] = str(number)  # the same file of the same records
        folder = images[record['file_name']].absolute().parents[len(name.parts) - 1].name
        address = f'{LOCAL_FILES}/?d={quote(os.fsencode(f"{folder}/{name}"))}'
        yield dict(
            data={label_set.image_key: [address] if label_set.has_pages else address},
            predictions=[prediction(result, f'mmovsam {__version__}')] if result else [],
        )


def prediction(result: Sequence[Mapping], model_version: str) -> dict:
    """Regions as Label Studio keeps a prediction, with the mean of their scores."""
    score = sum(region['score'] for region in result) / max(len(result), 1)
    return dict(result=result, score=score, model_version=model_version)


def encode_brush(mask: np.ndarray) -> list[int]:
    """The bytes of a mask `(H, W)` bool, as the `rle` of a result of type `brushlabels`.

    The format is that of the JavaScript package `@thi.ng/rle-pack`. A head of 32 bits for the
    number of values, 5 for the width of a value less 1 and 4 for each width in `RUN_BITS` less 1 is
    followed by the runs. Each is a bit 1, 2 bits for the index of the width, the length less 1
    in that width, and the value.
    """
    flat = mask.ravel()
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    lengths = np.diff(starts, append=flat.size) * CHANNELS
    parts = -(-lengths // LONGEST)
    runs = np.full(parts.sum(), LONGEST)
    runs[parts.cumsum() - 1] = lengths - (parts - 1) * LONGEST
    values = np.repeat(np.where(flat[starts], 255, 0), parts)
    index = np.searchsorted(1 << RUN_BITS, runs)
    codes = ((4 | index) << RUN_BITS[index] | runs - 1) << VALUE_BITS | values
    codes = np.concatenate([[flat.size * CHANNELS, VALUE_BITS - 1, *(RUN_BITS - 1)], codes])
    widths = np.concatenate([[32, 5, *[4] * len(RUN_BITS)], 3 + RUN_BITS[index] + VALUE_BITS])
    # the lowest bits of each code, as many as its width says, one after the other
    ends = np.repeat(widths.cumsum(), widths)
    bits = np.repeat(codes, widths) >> (ends - 1 - np.arange(len(ends))) & 1
    return np.packbits(bits.astype(np.uint8)).tolist()
