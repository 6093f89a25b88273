"""Numbers of a few bits."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmovsam.vocabulary.packing import (
    dequantize,
    pack,
    pack_matrix,
    quantize,
    unpack,
    unpack_matrices,
)

MATRIX = torch.randn(6, 64, generator=torch.Generator().manual_seed(0))


@given(bits=st.integers(2, 8), rows=st.integers(1, 5), chunks=st.integers(1, 9), seed=st.integers())
def test_packed_numbers_come_back_and_take_no_more_than_their_bits(bits, rows, chunks, seed):
    random = torch.Generator().manual_seed(seed % 2**31)
    half = 2 ** (bits - 1)
    codes = torch.randint(-half, half, (rows, 8 * chunks), generator=random).to(torch.int8)
    packed = pack(codes, bits)
    assert packed.dtype == torch.uint8 and packed.shape == (rows, bits * chunks)
    assert torch.equal(unpack(packed, bits), codes)


@pytest.mark.parametrize(('bits', 'error'), [(8, 0.01), (6, 0.03), (4, 0.12)])
@pytest.mark.parametrize('group', [None, 16])
def test_rounded_matrix_is_close(bits, error, group):
    codes, scales = quantize(MATRIX, bits, group)
    assert scales.shape == (6, 1 if group is None else 4)
    back = dequantize(codes, scales)
    assert (back - MATRIX).norm() < error * MATRIX.norm()


def test_matrices_of_a_file_are_unpacked_and_the_rest_is_left():
    counts = torch.tensor([1, 2])
    packed = {f'a.b.{key}': value for key, value in pack_matrix(MATRIX, 4, 32).items()}
    state = unpack_matrices({**packed, 'counts': counts, 'bias': torch.ones(2).half()})
    assert sorted(state) == ['a.b', 'bias', 'counts']
    assert torch.equal(state['a.b'], dequantize(*quantize(MATRIX, 4, 32)))
    assert state['counts'] is counts and state['bias'].dtype == torch.float32


@pytest.mark.parametrize(
    'tensors',
    [
        {'a.q4': torch.zeros(2, 4, dtype=torch.uint8)},
        {'a.q4': torch.zeros(2, 4), 'a.scales': torch.ones(2, 1)},
        {'a.q9': torch.zeros(2, 9, dtype=torch.uint8), 'a.scales': torch.ones(2, 1)},
        {'a.q4': torch.zeros(2, 4, dtype=torch.uint8), 'a.scales': torch.ones(3, 1)},
        {'a.q6': torch.zeros(2, 4, dtype=torch.uint8), 'a.scales': torch.ones(2, 1)},
    ],
)
def test_matrix_that_is_not_whole_is_refused(tensors):
    with pytest.raises(ValueError, match="'a' is not whole"):
        unpack_matrices(tensors)


def test_impossible_rounding_is_refused():
    for bits, group in ((1, None), (9, None), (4, 5)):
        with pytest.raises(ValueError, match='cannot round 64 columns'):
            quantize(MATRIX, bits, group)
    with pytest.raises(ValueError, match='do not fill bytes'):
        pack(torch.zeros(2, 6, dtype=torch.int8), 6)
