"""A fingerprint changes with whatever changes a network's output, and with nothing else."""

import pytest
import torch
from torch import nn

from mmovsam.checkpoints.fingerprint import module_fingerprint, tensor_digest


class Block(nn.Module):
    def __init__(self, num_heads=2):
        super().__init__()
        self.num_heads = num_heads
        self.linear = nn.Linear(4, 4)
        self.norm = nn.LayerNorm(4, eps=1e-6)
        self.register_buffer('scale', torch.ones(1), persistent=False)


def block(**kwargs):
    torch.manual_seed(0)
    return Block(**kwargs)


def changed(change):
    network = block()
    change(network)
    return network


@pytest.mark.parametrize(
    'other',
    [
        block(num_heads=4),
        changed(lambda network: network.linear.weight.data[0, 0].add_(1e-6)),
        changed(lambda network: network.scale.add_(1)),
        changed(lambda network: setattr(network.norm, 'eps', 1e-5)),
        changed(lambda network: setattr(network, 'norm', nn.Identity())),
        changed(lambda network: network.double()),
        changed(lambda network: setattr(network, 'more', nn.ReLU())),
    ],
)
def test_what_changes_the_output_changes_the_fingerprint(other):
    assert module_fingerprint(other) != module_fingerprint(block())


def test_equal_networks_have_one_fingerprint_and_a_part_may_be_left_out():
    frozen = block().eval().requires_grad_(False)
    frozen.frozen = True
    assert module_fingerprint(frozen) == module_fingerprint(block())
    assert module_fingerprint(nn.ReLU()) is None
    network = block()
    expected = module_fingerprint(network, without='linear')
    network.linear = nn.Linear(4, 7)
    assert module_fingerprint(network, without='linear') == expected
    network.linear_too = nn.Linear(4, 4)
    assert module_fingerprint(network, without='linear') != expected


def test_digest_is_of_the_bytes_in_their_order():
    numbers = torch.arange(6.0)
    assert tensor_digest(numbers) == tensor_digest(numbers.split(2)) != tensor_digest(-numbers)
    assert tensor_digest(numbers.bfloat16()) == tensor_digest(numbers.bfloat16().clone())
    assert tensor_digest(numbers.reshape(2, 3).T) != tensor_digest(numbers)
