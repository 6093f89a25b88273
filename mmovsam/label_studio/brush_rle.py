"""Masks as Label Studio's brush keeps them: run-length encoded RGBA pixels."""

from __future__ import annotations

import numpy as np

CHANNELS = 4  # RGBA, all four alike: 255 inside the mask, 0 outside
VALUE_BITS = 8
RUN_BITS = np.array([3, 4, 8, 16])  # a run says which of these widths its length has
LONGEST = 1 << RUN_BITS[-1]


def encode_brush(mask: np.ndarray) -> list[int]:
    """Encode a mask as the `rle` of a result of type `brushlabels`.

    The format is that of the JavaScript package `@thi.ng/rle-pack`. A head of 32 bits for the
    number of values, 5 for the width of a value less 1 and 4 for each width in `RUN_BITS` less 1 is
    followed by the runs. Each is a bit 1, 2 bits for the index of the width, the length less 1
    in that width, and the value.

    Args:
        mask: `(H, W)` bool.

    Returns:
        The bytes, as JSON holds them.
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
    head = [flat.size * CHANNELS, VALUE_BITS - 1, *(RUN_BITS - 1)]
    head_widths = [32, 5, *[4] * len(RUN_BITS)]
    widths = 3 + RUN_BITS[index] + VALUE_BITS
    return _packed(np.concatenate([head, codes]), np.concatenate([head_widths, widths]))


def _packed(codes: np.ndarray, widths: np.ndarray) -> list[int]:
    """The lowest bits of each code, as many as its width says, one after the other in bytes."""
    ends = np.repeat(widths.cumsum(), widths)
    bits = np.repeat(codes, widths) >> (ends - 1 - np.arange(len(ends))) & 1
    return np.packbits(bits.astype(np.uint8)).tolist()
