"""Batch normalization over processes."""

import torch
from mini_world.clip_training import with_global_statistics
from mmcv.cnn import build_norm_layer
from tiny_dump import in_two_processes
from torch import nn

from mmovsam.layers import GlobalBatchNorm2d

BATCH = torch.randn(4, 3, 5, 6, generator=torch.Generator().manual_seed(0)) * 3 + 2


def step(layers, batch):
    """Output, gradients and statistics of a training step on the mean of a batch."""
    batch = batch.clone().requires_grad_()
    out = layers(batch)
    out.pow(3).mean().backward()
    return out.detach(), batch.grad, [p.grad for p in layers.parameters()], list(layers.buffers())


def layers():
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()


def test_two_processes_normalize_by_the_statistics_of_both():
    out, inputs, gradients, statistics = step(layers(), BATCH)

    def check(rank):
        half = slice(2 * rank, 2 * rank + 2)
        mine = with_global_statistics(layers())
        seen, seen_inputs, seen_gradients, seen_statistics = step(mine, BATCH[half])
        torch.testing.assert_close(seen, out[half])
        torch.testing.assert_close(seen_inputs / 2, inputs[half])
        for gradient, expected in zip(seen_gradients, gradients):
            torch.distributed.all_reduce(gradient)
            torch.testing.assert_close(gradient / 2, expected, atol=1e-5, rtol=1e-4)
        for found, expected in zip(seen_statistics, statistics):
            torch.testing.assert_close(found, expected)

    assert in_two_processes(check) == [0, 0]


def test_one_process_normalizes_as_pytorch_does_by_the_layer_that_configs_call_global_bn():
    out, _, *wanted = step(layers(), BATCH)
    seen, _, *found = step(with_global_statistics(layers()), BATCH)
    assert torch.equal(seen, out)
    assert all(torch.equal(a, b) for parts in zip(found, wanted) for a, b in zip(*parts))
    name, norm = build_norm_layer(dict(type='GlobalBN'), 4)
    assert (name, type(norm)) == ('bn', GlobalBatchNorm2d)
    assert set(norm.state_dict()) == set(nn.BatchNorm2d(4).state_dict())
