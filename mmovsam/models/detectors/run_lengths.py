"""Masks as run lengths: from logits, without whole masks in between; to boxes and to masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from pycocotools import mask as coco_mask
from torch import Tensor

from ...layers import to_device, without_autocast
from ...layers.tensors import in_parts

PIXELS_AT_ONCE = 2**25
PIXELS_IN_CACHE = 2**20


def encode_logits(
    low_res_logits: Tensor, input_size: int, img_shape: Sequence[int], ori_shape: Sequence[int]
) -> list[dict]:
    """Masks at an image's size as run-length encodings of pycocotools.

    The two resizes of an axis are one matrix. On a CPU only pixels near the edge of a mask are
    made; a GPU makes several masks whole, and only where their runs begin and end comes to the
    host. Arguments are those of `enlarge_logits`.
    """
    logits = low_res_logits[:, 0].detach().float()
    sizes = zip(logits.shape[1:], img_shape, ori_shape)
    sizes = [(low, input_size, *size) for low, *size in sizes]
    if in_parts(logits):
        return [_encode(mask, *(_taps(*size) for size in sizes)) for mask in logits.numpy()]
    matrices = [_resize(*size, logits.device) for size in sizes]
    with without_autocast(logits):
        step = max(1, PIXELS_AT_ONCE // (len(matrices[0]) * len(matrices[1])))
        return [run for part in logits.split(step) for run in _encode_whole(part, *matrices)]


def bboxes_of_runs(masks: Sequence[dict]) -> Tensor:
    """Bounding boxes `(N, 4)` float32 of run-length encodings: see `masks_to_bboxes`."""
    if not masks:
        return torch.zeros(0, 4)
    bboxes = torch.from_numpy(coco_mask.toBbox(list(masks))).float()
    bboxes[:, 2:] += bboxes[:, :2]
    return bboxes


def decode_runs(masks: Sequence[dict], size: Sequence[int]) -> np.ndarray:
    """Masks `(N, H, W)` bool of run-length encodings, each of `size` `(H, W)`."""
    decoded = np.zeros((len(masks), *size[:2]), bool)
    for mask, encoded in zip(decoded, masks):
        mask[:] = coco_mask.decode(encoded)
    return decoded


@lru_cache(maxsize=16)
def _resize(low: int, input_size: int, within: int, final: int, device: torch.device) -> Tensor:
    """Matrix `(final, low)` of the resizes along one axis: to the input, cropped, to the image."""
    weights = F.interpolate(torch.eye(low)[None], input_size, mode='linear')[..., :within]
    return to_device(F.interpolate(weights, final, mode='linear')[0].T.contiguous(), device)


class _Taps(NamedTuple):
    """Of which neighbours among n logits each of m pixels along an axis is a weighted sum."""

    first: np.ndarray
    """Index of the first of k, `(m,)`; it never falls."""
    weights: np.ndarray
    """`(k, m)` float32."""

    def reached(self, inside: np.ndarray) -> np.ndarray:
        """The pixels with a share in what lies between the first and the last logit inside."""
        if not inside.any():
            return np.arange(0)
        first, last = np.flatnonzero(inside)[[0, -1]]
        start = np.searchsorted(self.first, first - len(self.weights), 'right')
        return np.arange(start, np.searchsorted(self.first, last, 'right'))

    def between(self, above: np.ndarray) -> np.ndarray:
        """Pixels `(a, p)` with a share in each logit of `above`, `(a,)`, and the next, and more."""
        start = np.searchsorted(self.first, above + 2 - len(self.weights))
        stop = np.searchsorted(self.first, above, 'right')
        return start[:, None] + np.arange(-1, (stop - start).max(initial=0) + 1)


@lru_cache(maxsize=16)
def _taps(*sizes: int) -> _Taps:
    """Those of `_resize`."""
    matrix = _resize(*sizes, torch.device('cpu')).numpy()
    used = matrix != 0
    first, end = used.argmax(1), matrix.shape[1] - used[:, ::-1].argmax(1)
    most = (end - first).max()
    first = np.minimum(first, matrix.shape[1] - most)
    return _Taps(first, np.take_along_axis(matrix, first[:, None] + np.arange(most), 1).T.copy())


def _encode_whole(logits: Tensor, down: Tensor, across: Tensor) -> Iterator[dict]:
    """Masks of logits `(n, h, w)`, by the matrices of the height and of the width."""
    size = [len(down), len(across)]
    inside = (across @ logits.mT @ down.T > 0).flatten(1)  # column by column
    outside = inside.new_zeros(len(inside), 1)
    changes = torch.diff(inside, dim=1, prepend=outside, append=outside).nonzero()
    number, borders = changes.cpu().numpy().T
    ends = np.searchsorted(number, np.arange(len(logits) + 1))
    for start, end in zip(ends, ends[1:]):
        yield encode_borders(borders[start:end], size)


def _encode(logits: np.ndarray, down: _Taps, across: _Taps) -> dict:
    """One mask of logits `(h, w)`, by the taps of the height and of the width."""
    height, width = down.weights.shape[1], across.weights.shape[1]
    rows, columns = down.reached((logits > 0).any(1)), across.reached((logits > 0).any(0))
    if not len(rows) or not len(columns):
        return encode_borders(rows[:0], [height, width])
    # A pixel outside, above or below, parts the runs of two columns.
    top, bottom = max(rows[0] - 1, 0), min(rows[-1] + 1, height - 1)
    start, stop = down.first[top], down.first[bottom] + len(down.weights)
    borders = []
    for part in np.array_split(columns, -(-len(columns) * height // PIXELS_IN_CACHE)):
        lines = _mixed(logits[start:stop].T, across.first[part], across.weights[:, part, None])
        # A column changes only between logits on both sides of 0: no other pixels are made.
        line, above = np.nonzero(np.diff(lines > 0, axis=1))
        made = np.zeros((len(part), bottom - top + 1), bool)
        made[line[:, None], down.between(above + start).clip(top, bottom) - top] = True
        made[:, [0, -1]] = True
        line, row = np.divmod(np.flatnonzero(made), made.shape[1])
        row += top
        first = line * lines.shape[1] + down.first[row] - start
        inside = _mixed(lines.ravel(), first, down.weights[:, row]) > 0
        changes = np.flatnonzero(np.diff(inside, prepend=False, append=False))
        changes[1::2] -= 1  # from the end of a run to its last pixel, which is of the same column
        borders.append((line[changes] + part[0]) * height + row[changes])
        borders[-1][1::2] += 1
    return encode_borders(np.concatenate(borders), [height, width])


def _mixed(values: np.ndarray, first: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted sums of neighbours along the first axis."""
    return sum(weight * values[first + tap] for tap, weight in enumerate(weights))


def encode_borders(borders: np.ndarray, size: list[int]) -> dict:
    """The encoding of the places, column by column, where runs begin and end.

    A run that begins where the one before ends goes on.
    """
    borders = borders[(np.diff(borders, prepend=-1) > 0) & (np.diff(borders, append=-1) != 0)]
    counts = np.diff(borders, prepend=0, append=size[0] * size[1])
    counts = counts[: len(counts) - (counts[-1] == 0)]
    return coco_mask.frPyObjects(dict(size=size, counts=counts.tolist()), *size)
