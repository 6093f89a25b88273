"""Samples whose random numbers are their own."""

import random
from types import SimpleNamespace

import numpy as np
import torch
from mmdet.structures import DetDataSample
from torch.utils.data import DataLoader

from mmovsam.engine.hooks import SampleSeedHook
from mmovsam.engine.hooks.sample_seed_hook import SeededItems
from mmovsam.randomness import derive_seed, seeded


class Draws:
    """Items that are drawn from all three generators."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        drawn = [random.random(), float(np.random.rand()), float(torch.rand(()))]
        return dict(inputs=drawn, data_samples=DetDataSample(metainfo=dict(img_id=index)))


def items(num_workers=0, epoch=3, seed=7, batch_size=2, sampler=range(6)):
    """What a loader gives in an epoch: numbers and seed of each image."""
    loader = DataLoader(
        Draws(),
        batch_size,
        sampler=sampler,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        collate_fn=list,
    )
    runner = SimpleNamespace(train_dataloader=loader, train_loop=None, seed=seed, epoch=epoch)
    SampleSeedHook().before_train_epoch(runner)
    samples = [(item['data_samples'], item['inputs']) for batch in loader for item in batch]
    return {sample.img_id: (sample.seed, drawn) for sample, drawn in samples}


def test_a_sample_is_the_same_whoever_loads_it_with_whatever():
    expected = items()
    assert len({str(drawn) for drawn in expected.values()}) == 6
    assert items(num_workers=2) == expected
    mine, others = items(sampler=[4, 0, 2]), items(sampler=[5, 1, 3], batch_size=1)
    assert {**mine, **others} == expected


def test_a_sample_is_another_one_in_another_epoch_and_of_another_seed():
    seen = [items(), items(epoch=4), items(seed=8)]
    assert len({str(drawn) for found in seen for drawn in found.values()}) == 18
    assert len({seed for found in seen for seed, _ in found.values()}) == 18


def test_randomness_outside_of_a_sample_is_left_as_it_is():
    def numbers():
        return random.random(), np.random.rand(), torch.rand(()).item()

    expected = []
    for inside in (list, lambda: SeededItems(Draws(), 7, 3)([0, 1])):
        random.seed(1), np.random.seed(1), torch.manual_seed(1)
        first = numbers()
        inside()
        expected.append((first, numbers()))
    assert expected[0] == expected[1]


def test_without_a_seed_the_generators_go_on():
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    with seeded(None):
        first = torch.rand(())
    assert torch.equal(torch.stack([first, torch.rand(())]), expected)


def test_seeds_of_unlike_parts_differ():
    parts = [(a, b, c) for a in range(5) for b in range(5) for c in range(5)]
    assert len({derive_seed(*part) for part in parts}) == len(parts)
