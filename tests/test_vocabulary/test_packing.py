"""Numbers of a few bits."""

import pytest
import torch

from mmovsam.vocabulary.packing import dequantize, pack_matrix, quantize, unpack_matrices

MATRIX = torch.randn(6, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(('bits', 'error'), [(8, 0.01), (7, 0.02), (6, 0.03), (5, 0.06), (4, 0.12)])
@pytest.mark.parametrize('group', [None, 16])
def test_rounded_matrix_is_close_and_comes_back_from_its_bits(bits, error, group):
    codes, scales = quantize(MATRIX, bits, group)
    assert scales.shape == (6, 1 if group is None else 4)
    back = dequantize(codes, scales)
    assert (back - MATRIX).norm() < error * MATRIX.norm()
    packed = {f'a.b.{key}': value for key, value in pack_matrix(MATRIX, bits, group).items()}
    assert sum(value.numel() for key, value in packed.items() if '.q' in key) == 6 * 8 * bits
    counts = torch.tensor([1, 2])
    state = unpack_matrices({**packed, 'counts': counts, 'bias': torch.ones(2).half()})
    assert sorted(state) == ['a.b', 'bias', 'counts'] and torch.equal(state['a.b'], back)
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
