"""Brush masks, decoded bit by bit and by Label Studio's own package."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from label_studio_requests import decode_brush

from mmovsam.label_studio.regions import encode_brush

SHAPES = [(1, 1), (1, 9), (7, 1), (90, 170)]


def masks(shape):
    """Nothing, everything, a disc, and diagonal stripes, whose runs have all lengths."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    disc = np.hypot(rows - shape[0] / 2, columns - shape[1] / 2) < min(shape) / 3
    return [np.zeros(shape, bool), np.ones(shape, bool), disc, (rows * 3 + columns) % 31 < 9]


def test_decoded_mask_is_the_encoded_one():
    for shape in SHAPES:
        for mask in masks(shape):
            assert np.array_equal(decode_brush(encode_brush(mask), shape), mask)
    for pixels in (1 << 14, (1 << 14) + 1, (1 << 15) + 3):  # 4 values a pixel, 65,536 a run
        mask = np.ones((1, pixels), bool)
        assert np.array_equal(decode_brush(encode_brush(mask), mask.shape), mask)


@given(hnp.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_any_mask_survives(mask):
    assert np.array_equal(decode_brush(encode_brush(mask), mask.shape), mask)


def test_bytes_are_those_of_the_format():
    # 24 values of 8 bits; widths 3, 4, 8, 16; runs of 8 zeros, 4 times 255, 12 zeros
    head = f'{24:032b}' + '00111' + '0010' + '0011' + '0111' + '1111'
    runs = '10011100000000' + '10001111111111' + '101101100000000'
    bits = head + runs + '0' * (-len(head + runs) % 8)
    expected = [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]
    assert encode_brush(np.array([[False, False, True], [False, False, False]])) == expected


@pytest.mark.parametrize('shape', SHAPES)
def test_label_studios_own_decoder_reads_it(shape):
    brush = pytest.importorskip(
        'label_studio_sdk.converter.brush', reason='pip install label-studio-sdk, for its decoder'
    )
    for mask in masks(shape):
        pixels = brush.decode_rle(encode_brush(mask)).reshape(*shape, 4)
        assert np.array_equal(pixels[..., 3] > 0, mask)
