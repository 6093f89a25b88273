"""Searches large images in overlapping tiles and merges objects that tile borders cut."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from numbers import Integral, Real

import numpy as np
from pycocotools import mask as coco_mask

from .inference_results import measured, moved, run_lengths
from .large_image import LargeImage

TILE_OVERLAP = 0.25
SAME_OBJECT_IOU = 0.5  # pieces with a larger IoU, where their tiles overlap, are one object
BORDER = 1 / 80  # of a tile's side: an object that ends within is cut

Box = tuple[int, int, int, int]


def in_tiles(
    image: LargeImage,
    search: Callable[[np.ndarray], list[dict]],
    tile_size: int,
    tile_overlap: float = TILE_OVERLAP,
    by_name: bool = False,
) -> list[dict]:
    """Search the tiles of an image and merge the results, in the frame of the image.

    `search` maps a tile, `(h, w, 3)` uint8 BGR, to dicts as of `segment_everything`, with run
    lengths. In the results `crop_box` is the tile, or the box around all merged tiles.

    An object that a tile border cuts is dropped if another tile has it with fewer cuts; so cut
    pieces remain only of objects larger than the overlap. Pieces of two tiles, of the same name if
    `by_name`, are merged if their IoU where the tiles overlap is above 0.5, best pairs first, at
    most one piece of each tile. The merged object has the union of the masks, and other fields of
    the largest piece. Duplicates of objects that several tiles show whole are kept.
    """
    tiles = list(tile_boxes(image.shape, tile_size, tile_overlap))
    corners = np.array(tiles)
    border = max(2, round(tile_size * BORDER))

    def cuts(bbox: Sequence[float], tile: Box) -> set[int]:
        """The sides of a tile, except those of the image, at which a box ends."""
        x, y, width, height = bbox
        gaps = x - tile[0], y - tile[1], tile[2] - x - width, tile[3] - y - height
        inner = tile[0] > 0, tile[1] > 0, tile[2] < image.shape[1], tile[3] < image.shape[0]
        return {side for side in range(4) if inner[side] and gaps[side] <= border}

    results, cut_pieces = [], defaultdict(lambda: defaultdict(list))
    for index, tile in enumerate(tiles):
        for thing in search(image.window(*tile)):
            thing = to_image_frame(thing, tile, image.shape)
            x, y, width, height = bbox = thing['bbox']
            sides = cuts(bbox, tile)
            contains = (corners[:, :2] <= (x, y)) & (corners[:, 2:] >= (x + width, y + height))
            if not sides:
                results.append(thing)
            elif not any(sides > cuts(bbox, tiles[i]) for i in np.flatnonzero(contains.all(1))):
                cut_pieces[thing['name'] if by_name else None][index].append(thing)
    for pieces in cut_pieces.values():
        results += _merge(pieces, tiles, image.shape)
    return results


def tile_boxes(shape: Sequence[int], tile_size: int, tile_overlap: float) -> Iterator[Box]:
    """Evenly spaced tiles, xyxy in pixels, row by row, no larger than the image.

    Raises:
        ValueError: The size or the overlap is out of range.
    """
    if not (isinstance(tile_size, Integral) and tile_size >= 16):
        raise ValueError(f'tile_size must be at least 16 pixels, not {tile_size!r}.')
    if not (isinstance(tile_overlap, Real) and 0 <= tile_overlap <= 0.5):
        raise ValueError(f'tile_overlap must lie between 0 and 0.5, not {tile_overlap!r}.')
    spans = []
    for length in shape[:2]:
        size = min(tile_size, length)
        step = max(1, int(size * (1 - tile_overlap)))
        spans.append(spread(length, size, math.ceil((length - size) / step) + 1))
    for (y1, y2), (x1, x2) in itertools.product(*spans):
        yield x1, y1, x2, y2


def spread(length: int, size: int, number: int) -> list[tuple[int, int]]:
    """Start and end of evenly spaced intervals of one size, the first and last at the ends."""
    starts = np.linspace(0, length - size, number).round().astype(int).tolist()
    return [(start, start + size) for start in starts]


def to_image_frame(thing: dict, tile: Box, shape: Sequence[int]) -> dict:
    """Translate a result, with run lengths, from a tile, xyxy, to its image `(H, W)`."""
    x1, y1, x2, y2 = tile
    left, top, width, height = thing['bbox']
    thing = dict(
        thing,
        segmentation=moved(thing['segmentation'], x1, y1, shape),
        bbox=[left + x1, top + y1, width, height],
        crop_box=[x1, y1, x2 - x1, y2 - y1],
    )
    if 'point_coords' in thing:
        thing['point_coords'] = [[x + x1, y + y1] for x, y in thing['point_coords']]
    return thing


def _merge(
    pieces: Mapping[int, Sequence[dict]], tiles: Sequence[Box], shape: Sequence[int]
) -> Iterator[dict]:
    """Merge cut pieces, by the index of their tile."""
    pairs = []
    for i, j in itertools.combinations(pieces, 2):
        x1, y1 = (max(tiles[i][side], tiles[j][side]) for side in (0, 1))
        x2, y2 = (min(tiles[i][side], tiles[j][side]) for side in (2, 3))
        if x1 >= x2 or y1 >= y2:
            continue
        overlap = coco_mask.encode(np.ones((y2 - y1, x2 - x1), np.uint8, order='F'))
        overlap = moved(run_lengths([overlap])[0], x1, y1, shape)
        masks1, masks2 = (
            [coco_mask.merge([piece['segmentation'], overlap], intersect=True) for piece in of_tile]
            for of_tile in (pieces[i], pieces[j])
        )
        ious = coco_mask.iou(masks1, masks2, [0] * len(masks2))
        similar = np.argwhere(ious > SAME_OBJECT_IOU).tolist()
        pairs += ((ious[k, l], (i, k), (j, l)) for k, l in similar)
    groups = {(i, k): [(i, k)] for i in pieces for k in range(len(pieces[i]))}
    for _, key1, key2 in sorted(pairs, key=lambda pair: -pair[0]):
        group1, group2 = groups[key1], groups[key2]
        if group1 is not group2 and not {i for i, _ in group1} & {j for j, _ in group2}:
            group1 += group2
            groups.update(dict.fromkeys(group2, group1))
    for group in {id(group): group for group in groups.values()}.values():
        group = [pieces[i][k] for i, k in group]
        yield _union(group) if len(group) > 1 else group[0]


def _union(pieces: Sequence[dict]) -> dict:
    mask = coco_mask.merge([piece['segmentation'] for piece in pieces])
    crops = np.array([piece['crop_box'] for piece in pieces])
    start, end = crops[:, :2].min(0), (crops[:, :2] + crops[:, 2:]).max(0)
    return dict(
        max(pieces, key=lambda piece: piece['area']),
        **measured(run_lengths([mask])[0]),
        crop_box=[*start.tolist(), *(end - start).tolist()],
    )
