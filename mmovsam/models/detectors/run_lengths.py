"""From logits to run lengths, without making the masks in between.

A bilinear resize mixes neighbours with weights that are not negative. So a pixel is inside only if
one of its sources is above 0, and most of an image need not be looked at. Down a column the values
between two rows of the network's input lie on a line, so a run begins or ends only where these rows
are on different sides of 0: only those pixels are computed. Where rounding could decide, the mask
is resized as PyTorch does it, one axis after the other; so the result is always that of the whole
mask, to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from pycocotools import mask as coco_mask
from torch import Tensor

ROUNDING = 2e-6  # more than a value of a resize is off, in parts of what it mixes


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

    @lru_cache(maxsize=16)  # noqa: B019  of a tuple of two numbers
    def taps(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Each target's first source `(m,)` and its two weights `(m,)` float32, as PyTorch's are.

        They are read off the resize of three rows that have a 1 at each third position: worked out
        here, they could be rounded otherwise.
        """
        thirds = (torch.arange(self.source) % 3 == torch.arange(3)[:, None]).float()
        shares = self.rows(thirds, slice(0, self.source)).numpy()
        place = np.arange(self.target)
        exact = np.maximum((place + 0.5) * self.source / self.target - 0.5, 0)
        nearest = np.round(exact).astype(np.int64)
        # Beside a whole number PyTorch may have come to either side of it.
        below = np.where(shares[(nearest - 1) % 3, place] > 0, nearest - 1, nearest)
        beside = abs(exact - nearest) < 1e-2
        first = np.where(beside, below, np.floor(exact).astype(np.int64))
        return first, shares[first % 3, place], shares[(first + 1) % 3, place]

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
        rows = axes[1][0].rows(values[high.low_res, wide.low_res], wide.low_res)[:, wide.input]
        columns = axes[0][0].rows(rows.T, high.low_res)[:, high.input]
        borders = _borders(columns, axes[1][1], axes[0][1], wide, high)
        if borders is None:
            rows = axes[1][1].rows(columns.T, wide.input)[:, wide.image]
            columns = axes[0][1].rows(rows.T, high.input)[:, high.image]
            borders = _borders_of_pixels((columns > 0).numpy(), wide.image, high.image, size[0])
    counts = np.diff(borders, prepend=0, append=size[0] * size[1])
    if counts[-1] == 0:
        counts = counts[:-1]
    return coco_mask.frPyObjects(dict(size=list(size), counts=counts.tolist()), *size)


def _borders(
    columns: Tensor, across: Resize, down: Resize, wide: Spans, high: Spans
) -> np.ndarray | None:
    """Where runs begin and end, counted down the columns of the image.

    Args:
        columns: `(w, h)`, the columns of a part of the network's input.
        across: To the image's width.
        down: To its height.
        wide: Which part it is, in width, and how far it reaches in the image.
        high: The same in height.

    Returns:
        An even number of places, ascending; None where rounding could decide.
    """
    first, left, right = (taps[wide.image] for taps in across.taps())
    first = torch.from_numpy(first) - wide.input.start
    second = (first + 1).clamp(max=len(columns) - 1)
    left, right = (torch.from_numpy(weights)[:, None] for weights in (left, right))
    lines = (columns[first] * left + columns[second] * right).numpy()

    inside = lines > 0
    flat = np.flatnonzero(inside[:, 1:] != inside[:, :-1])
    column, row = np.divmod(flat, inside.shape[1] - 1)
    above, below = lines[column, row], lines[column, row + 1]
    # Of the image's rows between two rows of the input, which is the first on the other side?
    first, upper, lower = down.taps()
    ends = np.searchsorted(first, np.arange(down.source + 1))
    start, stop = ends[row + high.input.start], ends[row + high.input.start + 1]
    between = start[:, None] + np.arange(max(1, int((ends[1:] - ends[:-1]).max())))
    valid = between < stop[:, None]
    between = np.minimum(between, down.target - 1)
    between_values = above[:, None] * upper[between] + below[:, None] * lower[between]
    doubt = ROUNDING * np.maximum(abs(above), abs(below))
    if (valid & (abs(between_values) <= doubt[:, None])).any():
        return None
    changed = (between_values > 0) == (below > 0)[:, None]
    borders = [(column + wide.image.start) * down.target + start + (valid & ~changed).sum(1)]
    # A run may touch the upper or the lower edge of the image, where nothing changes.
    for edge, place in ((0, 0), (-1, down.target)):
        touching = np.flatnonzero(inside[:, edge])
        borders.append((touching + wide.image.start) * down.target + place)
    return _without_pairs(np.sort(np.concatenate(borders)))


def _borders_of_pixels(columns: np.ndarray, wide: slice, high: slice, height: int) -> np.ndarray:
    """The same of pixels `(W, H)`, columns of a part of an image of some height."""
    changes = np.diff(columns, axis=1, prepend=False, append=False)
    column, row = np.divmod(np.flatnonzero(changes), changes.shape[1])
    return _without_pairs((column + wide.start) * height + row + high.start)


def _without_pairs(borders: np.ndarray) -> np.ndarray:
    """Without runs of no length, and without borders inside one run.

    A run to the bottom of one column goes on at the top of the next.
    """
    while len(same := np.flatnonzero(borders[1:] == borders[:-1])):
        same = same[np.diff(same, prepend=-2) > 1]  # of three that are equal, the first two
        borders = np.delete(borders, np.concatenate((same, same + 1)))
    return borders
