"""Large images in overlapping tiles, with objects that a seam cuts put together again."""

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
SAME = 0.5  # IoU, where two tiles overlap, from which two pieces are of one object
NEAR = 1 / 80  # of a tile's side: what ends so close to a seam is cut by it

Box = tuple[int, int, int, int]


def in_tiles(
    image: LargeImage,
    look: Callable[[np.ndarray], list[dict]],
    tile_size: int,
    tile_overlap: float = TILE_OVERLAP,
    by_name: bool = False,
) -> list[dict]:
    """What is found in the tiles of an image, in the frame of the image.

    What a seam cuts off and another tile shows with more of its surroundings is left to that one.
    So cut pieces are left of objects only that are larger than the overlap. Two of them are one
    object if they agree where their tiles overlap, by an IoU above 0.5; the best of such pairs come
    first, and an object has at most one piece of each tile. It gets the union of their masks, and
    all else from the largest of them. What several tiles show whole is still there several times.

    Args:
        image: The image.
        look: From a tile, `(h, w, 3)` uint8 BGR, to dicts as those of `segment_everything`, with
            run lengths; here `crop_box` is of the tile, or of all tiles that have a piece.
        tile_size: Side of the tiles in pixels of the image.
        tile_overlap: Of neighboring tiles, in parts of their side; at least this.
        by_name: Whether only pieces of one name can be of one object.
    """
    tiles = list(tile_boxes(image.shape, tile_size, tile_overlap))
    corners = np.array(tiles)
    near = max(2, round(tile_size * NEAR))
    whole, cut = [], defaultdict(lambda: defaultdict(list))
    for number, tile in enumerate(tiles):
        for thing in look(image.window(*tile)):
            thing = to_image_frame(thing, tile, image.shape)
            seams = _seams(thing['bbox'], tile, image.shape, near)
            x, y, width, height = thing['bbox']
            shown = (corners[:, :2] <= (x, y)) & (corners[:, 2:] >= (x + width, y + height))
            others = (tiles[i] for i in np.flatnonzero(shown.all(1)))
            if not seams:
                whole.append(thing)
            elif not any(seams > _seams(thing['bbox'], o, image.shape, near) for o in others):
                cut[thing['name'] if by_name else None][number].append(thing)
    for pieces in cut.values():
        whole += _joined(pieces, tiles, image.shape)
    return whole


def tile_boxes(shape: Sequence[int], tile_size: int, tile_overlap: float) -> Iterator[Box]:
    """Tiles, xyxy in pixels, row by row; evenly spread, and none larger than the image.

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
    """Where so many pieces of one size begin and end that cover a length evenly."""
    starts = np.linspace(0, length - size, number).round().astype(int).tolist()
    return [(start, start + size) for start in starts]


def to_image_frame(thing: dict, tile: Box, shape: Sequence[int]) -> dict:
    """What was found in a `tile`, xyxy, in the frame of its image `(H, W)`; with run lengths."""
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


def _seams(bbox: Sequence[float], tile: Box, shape: Sequence[int], near: int) -> set[int]:
    """The sides of a tile, that are none of the image, at which a box ends."""
    x, y, width, height = bbox
    gaps = x - tile[0], y - tile[1], tile[2] - x - width, tile[3] - y - height
    inner = tile[0] > 0, tile[1] > 0, tile[2] < shape[1], tile[3] < shape[0]
    return {side for side in range(4) if inner[side] and gaps[side] <= near}


def _joined(
    pieces: Mapping[int, Sequence[dict]], tiles: Sequence[Box], shape: Sequence[int]
) -> Iterator[dict]:
    """Cut pieces, by the numbers of their tiles, put together."""
    pairs = []
    for i, j in itertools.combinations(pieces, 2):
        x1, y1 = (max(tiles[i][side], tiles[j][side]) for side in (0, 1))
        x2, y2 = (min(tiles[i][side], tiles[j][side]) for side in (2, 3))
        if x1 >= x2 or y1 >= y2:
            continue
        overlap = coco_mask.encode(np.ones((y2 - y1, x2 - x1), np.uint8, order='F'))
        overlap = moved(run_lengths([overlap])[0], x1, y1, shape)
        one, other = (
            [coco_mask.merge([thing['segmentation'], overlap], intersect=True) for thing in each]
            for each in (pieces[i], pieces[j])
        )
        ious = coco_mask.iou(one, other, [0] * len(other))
        pairs += ((ious[k, l], (i, k), (j, l)) for k, l in np.argwhere(ious > SAME).tolist())
    groups = {(i, k): [(i, k)] for i in pieces for k in range(len(pieces[i]))}
    for _, one, other in sorted(pairs, key=lambda pair: -pair[0]):
        one, other = groups[one], groups[other]
        if one is not other and not {i for i, _ in one} & {j for j, _ in other}:
            one += other
            groups.update(dict.fromkeys(other, one))
    for group in {id(group): group for group in groups.values()}.values():
        parts = [pieces[i][k] for i, k in group]
        yield _union(parts) if len(parts) > 1 else parts[0]


def _union(pieces: Sequence[dict]) -> dict:
    mask = coco_mask.merge([piece['segmentation'] for piece in pieces])
    crops = np.array([piece['crop_box'] for piece in pieces])
    first, last = crops[:, :2].min(0), (crops[:, :2] + crops[:, 2:]).max(0)
    return dict(
        max(pieces, key=lambda piece: piece['area']),
        **measured(run_lengths([mask])[0]),
        crop_box=[*first.tolist(), *(last - first).tolist()],
    )
