"""From logits to run lengths, without making the masks in between.

A bilinear resize mixes neighbours with weights that are not negative. So a pixel is inside only if
one of its sources is above 0, and most of an image need not be looked at. What is looked at is
resized along one axis after the other, which is what PyTorch's resize does to each value, so the
result is that of resizing the whole mask, to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from pycocotools import mask as coco_mask
from torch import Tensor


class Resize(NamedTuple):
    """A bilinear resize along one axis."""

    source: int
    """Positions before, n."""
    target: int
    """Positions after, m."""

    def reached(self, span: slice) -> slice:
        """Where a value of `span` has a weight: all such positions, and maybe some beside."""
        first, last = (self._forth(index) for index in (span.start - 1, span.stop))
        return slice(max(0, int(first) - 1), min(self.target, int(last) + 2))

    def needed(self, span: slice) -> slice:
        """The sources of all values of `span`, and maybe some beside."""
        first, last = (self._back(index) for index in (span.start, span.stop - 1))
        return slice(max(0, int(first) - 1), min(self.source, int(last) + 3))

    def rows(self, values: Tensor, span: slice) -> Tensor:
        """Resize rows of which only `span` is given.

        Args:
            values: `(R, span)`.
            span: Which of the n positions they are.

        Returns:
            `(R, m)`, right where every source was given.
        """
        whole = F.pad(values, (span.start, self.source - span.stop))
        size = len(values), self.target
        return F.interpolate(whole[None, None], size, mode='bilinear', align_corners=False)[0, 0]

    def _forth(self, index: int) -> float:
        return (index + 0.5) * self.target / self.source - 0.5

    def _back(self, index: int) -> float:
        return (index + 0.5) * self.source / self.target - 0.5


def encode_logits(
    low_res_logits: Tensor, input_size: int, img_shape: Sequence[int], ori_shape: Sequence[int]
) -> list[dict]:
    """Masks at an image's size as run-length encodings, equal to those of `enlarge_masks`.

    Args:
        low_res_logits: `(N, 1, h, w)` over the padded square.
        input_size: Side of that square in pixels.
        img_shape: `(H, W)` of the image inside the square.
        ori_shape: `(H, W)` wanted.

    Returns:
        N encodings as pycocotools has them.
    """
    size = tuple(ori_shape[:2])
    logits = low_res_logits[:, 0].detach().float().cpu()
    axes = [
        (Resize(low, input_size), Resize(within, final))
        for low, within, final in zip(logits.shape[1:], img_shape, size)
    ]
    return [_encode(values, axes, size) for values in logits]


def bboxes_of_runs(masks: Sequence[dict]) -> Tensor:
    """Bounding boxes of run-length encodings.

    Args:
        masks: N of them, as pycocotools has them.

    Returns:
        `(N, 4)` float32 xyxy in pixels, right and lower edges exclusive; zeros for an empty mask.
    """
    if not masks:
        return torch.zeros(0, 4)
    bboxes = torch.from_numpy(coco_mask.toBbox(list(masks))).float()
    bboxes[:, 2:] += bboxes[:, :2]
    return bboxes


class Spans(NamedTuple):
    """What has to be known along one axis to know a mask: of the logits, the input, the image."""

    low_res: slice
    input: slice
    image: slice


def _spans(inside: Tensor, enlarge: Resize, resize: Resize) -> Spans | None:
    """What has to be looked at along one axis.

    Args:
        inside: `(n,)` bool, where any logit is above 0.
        enlarge: From the logits to the input.
        resize: From the image inside the input to the image itself.

    Returns:
        The spans; None if nothing of the mask is in the image.
    """
    places = inside.nonzero()
    if len(places) == 0:
        return None
    seen = enlarge.reached(slice(int(places[0]), int(places[-1]) + 1))
    if seen.start >= resize.source:
        return None
    image = resize.reached(slice(seen.start, min(seen.stop, resize.source)))
    padded = resize.needed(image)
    return Spans(enlarge.needed(padded), padded, image)


def _encode(values: Tensor, axes: list[tuple[Resize, Resize]], size: tuple[int, int]) -> dict:
    """One mask of logits `(h, w)`; `axes` has the two resizes of the height and of the width."""
    inside = values > 0
    high, wide = (_spans(inside.any(1 - axis), *axes[axis]) for axis in (0, 1))
    borders = np.zeros(0, np.int64)
    if high is not None and wide is not None:
        columns = values[high.low_res, wide.low_res].T
        for step in (0, 1):  # each along the width, then along the height, as PyTorch does
            rows = axes[1][step].rows(columns.T, wide[step])[:, wide[step + 1]]
            columns = axes[0][step].rows(rows.T, high[step])[:, high[step + 1]]
        borders = _borders((columns > 0).numpy(), wide.image.start, high.image.start, size[0])
    counts = np.diff(borders, prepend=0, append=size[0] * size[1])
    if counts[-1] == 0:
        counts = counts[:-1]
    return coco_mask.frPyObjects(dict(size=list(size), counts=counts.tolist()), *size)


def _borders(columns: np.ndarray, left: int, top: int, height: int) -> np.ndarray:
    """Where runs of a part of a mask begin and end, counted down the columns of the whole.

    Args:
        columns: `(W, H)` bool, its columns.
        left: The first of them in the whole.
        top: The row in the whole where they begin.
        height: Of the whole.
    """
    changes = np.diff(columns, axis=1, prepend=False, append=False)
    column, row = np.divmod(np.flatnonzero(changes), changes.shape[1])
    borders = (column + left) * height + row + top
    # A run to the bottom of one column goes on at the top of the next: no border.
    joined = np.flatnonzero(np.diff(borders) == 0)
    return np.delete(borders, np.concatenate((joined, joined + 1)))
