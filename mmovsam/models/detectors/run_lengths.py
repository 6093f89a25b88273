"""Run-length encodings of masks: from logits, without full masks in between, and back."""

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

    The two resizes along an axis are one matrix. On a CPU only pixels near the edge of a mask are
    computed; a GPU computes several full masks, and copies only the borders of their runs to the
    host. Arguments are those of `enlarge_logits`.
    """
    logits = low_res_logits[:, 0].detach().float()
    axes = zip(logits.shape[1:], img_shape, ori_shape)
    axes = [(low, input_size, within, final) for low, within, final in axes]
    if in_parts(logits):
        return [
            _encode_edges(mask, *(_interpolation(*axis) for axis in axes))
            for mask in logits.numpy()
        ]
    matrices = [_resize_matrix(*axis, logits.device) for axis in axes]
    with without_autocast(logits):
        step = max(1, PIXELS_AT_ONCE // (len(matrices[0]) * len(matrices[1])))
        return [mask for chunk in logits.split(step) for mask in _encode_full(chunk, *matrices)]


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


def encode_borders(borders: np.ndarray, size: list[int]) -> dict:
    """The encoding of a mask of `size` from where its runs begin and end, column by column.

    A run that begins where the one before ends continues it.
    """
    borders = borders[(np.diff(borders, prepend=-1) > 0) & (np.diff(borders, append=-1) != 0)]
    counts = np.diff(borders, prepend=0, append=size[0] * size[1])
    counts = counts[: len(counts) - (counts[-1] == 0)]
    return coco_mask.frPyObjects(dict(size=size, counts=counts.tolist()), *size)


@lru_cache(maxsize=16)
def _resize_matrix(
    low: int, input_size: int, within: int, final: int, device: torch.device
) -> Tensor:
    """Matrix `(final, low)` of the resizes along one axis: to the input, cropped, to the image."""
    weights = F.interpolate(torch.eye(low)[None], input_size, mode='linear')[..., :within]
    return to_device(F.interpolate(weights, final, mode='linear')[0].T.contiguous(), device)


def _encode_full(logits: Tensor, vertical: Tensor, horizontal: Tensor) -> Iterator[dict]:
    """Encode logits `(n, h, w)`, resized by the matrices of both axes."""
    size = [len(vertical), len(horizontal)]
    inside = (horizontal @ logits.mT @ vertical.T > 0).flatten(1)  # column by column
    outside = inside.new_zeros(len(inside), 1)
    changes = torch.diff(inside, dim=1, prepend=outside, append=outside).nonzero()
    mask_index, borders = changes.cpu().numpy().T
    ends = np.searchsorted(mask_index, np.arange(len(logits) + 1))
    for start, end in zip(ends, ends[1:]):
        yield encode_borders(borders[start:end], size)


class _Interpolation(NamedTuple):
    """`_resize_matrix` in sparse form: m pixels, each a weighted sum of k neighbouring logits."""

    first: np.ndarray
    """Index of the first of the k logits, `(m,)`, ascending."""
    weights: np.ndarray
    """`(k, m)` float32."""

    def pixels_of(self, inside: np.ndarray) -> np.ndarray:
        """Pixels that depend on logits between the first and the last one inside."""
        if not inside.any():
            return np.arange(0)
        first, last = np.flatnonzero(inside)[[0, -1]]
        start = np.searchsorted(self.first, first - len(self.weights), 'right')
        return np.arange(start, np.searchsorted(self.first, last, 'right'))

    def pixels_between(self, above: np.ndarray) -> np.ndarray:
        """Pixels `(a, p)`, at least those that depend on logits `above` `(a,)` and `above + 1`."""
        start = np.searchsorted(self.first, above + 2 - len(self.weights))
        stop = np.searchsorted(self.first, above, 'right')
        return start[:, None] + np.arange(-1, (stop - start).max(initial=0) + 1)


@lru_cache(maxsize=16)
def _interpolation(*sizes: int) -> _Interpolation:
    matrix = _resize_matrix(*sizes, torch.device('cpu')).numpy()
    used = matrix != 0
    first, end = used.argmax(1), matrix.shape[1] - used[:, ::-1].argmax(1)
    count = (end - first).max()
    first = np.minimum(first, matrix.shape[1] - count)
    weights = np.take_along_axis(matrix, first[:, None] + np.arange(count), 1).T.copy()
    return _Interpolation(first, weights)


def _encode_edges(logits: np.ndarray, vertical: _Interpolation, horizontal: _Interpolation) -> dict:
    """Encode logits `(h, w)`, resized along both axes, by the pixels near the mask's edge."""
    height, width = vertical.weights.shape[1], horizontal.weights.shape[1]
    rows = vertical.pixels_of((logits > 0).any(1))
    columns = horizontal.pixels_of((logits > 0).any(0))
    if not len(rows) or not len(columns):
        return encode_borders(rows[:0], [height, width])
    # A pixel outside, above or below, separates the runs of two columns.
    top, bottom = max(rows[0] - 1, 0), min(rows[-1] + 1, height - 1)
    start, stop = vertical.first[top], vertical.first[bottom] + len(vertical.weights)
    borders = []
    for chunk in np.array_split(columns, -(-len(columns) * height // PIXELS_IN_CACHE)):
        lines = _weighted_sum(
            logits[start:stop].T, horizontal.first[chunk], horizontal.weights[:, chunk, None]
        )
        # A column changes only between logits on both sides of 0: only pixels there are needed.
        line, above = np.nonzero(np.diff(lines > 0, axis=1))
        needed = np.zeros((len(chunk), bottom - top + 1), bool)
        needed[line[:, None], vertical.pixels_between(above + start).clip(top, bottom) - top] = True
        needed[:, [0, -1]] = True
        line, row = np.divmod(np.flatnonzero(needed), needed.shape[1])
        row += top
        first = line * lines.shape[1] + vertical.first[row] - start
        inside = _weighted_sum(lines.ravel(), first, vertical.weights[:, row]) > 0
        changes = np.flatnonzero(np.diff(inside, prepend=False, append=False))
        changes[1::2] -= 1  # from the end of a run to its last pixel, which is of the same column
        borders.append((line[changes] + chunk[0]) * height + row[changes])
        borders[-1][1::2] += 1
    return encode_borders(np.concatenate(borders), [height, width])


def _weighted_sum(values: np.ndarray, first: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted sums of neighbours along the first axis."""
    return sum(weight * values[first + offset] for offset, weight in enumerate(weights))
