"""Weights of eight bits in files."""

import pytest
import torch

from mmovsam.checkpoints import load_checkpoint_file, save_safetensors
from mmovsam.checkpoints.quantization import MIN_SIZE, from_int8, to_int8

SEED = 8


def weights():
    generator = torch.Generator().manual_seed(SEED)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    # rows of very different scale, and one of zeros
    scales = torch.logspace(-6, 3, 80)
    scales[7] = 0
    return {
        'conv.weight': normal(80, 7, 3, 3) * scales[:, None, None, None],
        'linear.weight': normal(64, 64),
        'long.bias': normal(2 * MIN_SIZE),
        'small.weight': normal(8, 8),
        'norm.num_batches_tracked': torch.tensor(2**40),
        'mask': normal(70, 70) > 0,
    }


def test_large_tensors_err_by_half_of_a_step_of_their_row_and_others_are_halved_or_stay(tmp_path):
    print('seed', SEED)
    given = weights()
    packed = to_int8(given)
    assert packed['conv.weight'].dtype == packed['linear.weight'].dtype == torch.int8
    assert packed['conv.weight.scales'].shape == (80,)
    got = from_int8(packed)
    assert got.keys() == given.keys()
    for name in ('long.bias', 'small.weight'):
        assert torch.equal(packed[name], given[name].half()) and got[name] is packed[name]
    for name in ('norm.num_batches_tracked', 'mask'):
        assert got[name] is given[name]
    save_safetensors(packed, tmp_path / 'a.safetensors')  # a file is read as float
    loaded = load_checkpoint_file(tmp_path / 'a.safetensors')['state_dict']
    assert loaded.keys() == got.keys() and all(torch.equal(loaded[n], got[n]) for n in got)
    for name in ('conv.weight', 'linear.weight'):
        rows, want = got[name].flatten(1), given[name].flatten(1)
        step = want.abs().amax(1, keepdim=True) / 127
        assert got[name].shape == given[name].shape and got[name].dtype == torch.float32
        assert ((rows - want).abs() <= 0.501 * step + 1e-12).all()
    assert (got['conv.weight'][7] == 0).all()


@pytest.mark.parametrize(
    'others',
    [
        # layers that happen to be called so
        {'norm': torch.randn(4), 'norm.scales': torch.randn(4)},
        {'a.scales': torch.randn(4)},
        {'codes': torch.arange(4, dtype=torch.int8)},
    ],
    ids=['float with scales', 'scales of nothing', 'int8 without scales'],
)
def test_files_of_other_weights_are_read_as_they_are(tmp_path, others):
    save_safetensors(others, tmp_path / 'other.safetensors')
    got = load_checkpoint_file(tmp_path / 'other.safetensors')['state_dict']
    assert got.keys() == others.keys()
    for name, tensor in others.items():
        assert torch.equal(got[name], tensor) and got[name].dtype == tensor.dtype
