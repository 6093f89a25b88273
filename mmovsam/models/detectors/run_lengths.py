"""Masks as run lengths: from logits, without whole masks in between; to boxes and to masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from pycocotools import mask as coco_mask
from torch import Tensor

from ...layers import to_device, without_autocast
from ...layers.tensors import in_parts

PIXELS_AT_ONCE = 2**25


def encode_logits(
    low_res_logits: Tensor, input_size: int, img_shape: Sequence[int], ori_shape: Sequence[int]
) -> list[dict]:
    """Masks at an image's size as run-length encodings of pycocotools.

    The two resizes of an axis are one matrix. On a CPU only the part of an image is looked at that
    the logits above 0 of a mask reach; a GPU makes several masks whole, and only where their runs
    begin and end comes to the host. Arguments are those of `enlarge_logits`.
    """
    logits = low_res_logits[:, 0].detach().float()
    sizes = zip(logits.shape[1:], img_shape, ori_shape)
    matrices = [_resize(low, input_size, *size, logits.device) for low, *size in sizes]
    with without_autocast(logits):
        if in_parts(logits):
            return [_encode(mask, *matrices) for mask in logits]
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


def _encode(logits: Tensor, down: Tensor, across: Tensor) -> dict:
    """One mask of logits `(h, w)`, by the matrices of the height and of the width."""
    height, width = len(down), len(across)
    rows, ys = _reached((logits > 0).any(1), down)
    columns, xs = _reached((logits > 0).any(0), across)
    # A pixel outside, above or below, parts the runs of two columns.
    ys = slice(max(ys.start - 1, 0), min(ys.stop + 1, height))
    mask = across[xs, columns] @ logits[rows, columns].T @ down[ys, rows].T > 0
    outside = mask.new_zeros(1)
    changes = torch.diff(mask.flatten(), prepend=outside, append=outside)
    borders = changes.nonzero()[:, 0].cpu().numpy()
    borders[1::2] -= 1  # from the end of a run to its last pixel, which is of the same column
    column, row = np.divmod(borders, max(ys.stop - ys.start, 1))
    borders = (column + xs.start) * height + row + ys.start
    borders[1::2] += 1
    return encode_borders(borders, [height, width])


def encode_borders(borders: np.ndarray, size: list[int]) -> dict:
    """The encoding of the places, column by column, where runs begin and end."""
    counts = np.diff(borders, prepend=0, append=size[0] * size[1])
    counts = counts[: len(counts) - (counts[-1] == 0)]
    return coco_mask.frPyObjects(dict(size=size, counts=counts.tolist()), *size)


def _reached(inside: Tensor, matrix: Tensor) -> tuple[slice, slice]:
    """What a mask needs of one axis: of its logits `(n,)`, and of the image `(m,)`."""
    image = _extent(matrix[:, _extent(inside)].any(1))
    return _extent(matrix[image].any(0)), image


def _extent(flags: Tensor) -> slice:
    """From the first to the last that is set."""
    places = flags.nonzero()[:, 0]
    return slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 0)
