from types import SimpleNamespace

import numpy as np
import pytest

from mmovsam.datasets.samplers import MixedSampler

SIZES = (10, 7, 1000)


def dataset(ratios=(1, 2, 1), sizes=SIZES):
    return SimpleNamespace(
        datasets=[range(size) for size in sizes],
        cumulative_sizes=np.cumsum(sizes).tolist(),
        ratios=ratios,
    )


def sources(indices, sizes=SIZES):
    return np.searchsorted(np.cumsum(sizes), indices, side='right')


def epochs(num, sampler):
    drawn = []
    for epoch in range(num):
        sampler.set_epoch(epoch)
        drawn.append(list(sampler))
    return drawn


def test_an_epoch_has_the_ratio_and_draws_the_first_data_set_once_unless_told_otherwise():
    for num, want in ((80, [20, 40, 20]), (7, [2, 3, 2]), (1, [0, 1, 0])):
        (drawn,) = epochs(1, MixedSampler(dataset(), num_samples=num, seed=3))
        assert np.bincount(sources(drawn), minlength=3).tolist() == want
    sampler = MixedSampler(dataset(), seed=0)
    assert len(sampler) == 40
    (drawn,) = epochs(1, sampler)
    assert sorted(i for i in drawn if i < 10) == list(range(10))
    assert len(MixedSampler(dataset((0, 1, 1)), seed=0)) == 14
    (drawn,) = epochs(1, MixedSampler(dataset((1, 0, 0)), seed=1))
    assert sorted(drawn) == list(range(10))


def test_every_image_is_drawn_once_before_any_is_again():
    drawn = sum(epochs(13, MixedSampler(dataset((1, 1, 3)), num_samples=20, seed=5)), [])
    for source, (start, size) in enumerate(zip((0, 10, 17), SIZES)):
        own = [i for i in drawn if sources([i])[0] == source]
        assert all(start <= i < start + size for i in own)
        for begin in range(0, len(own), size):
            one_pass = own[begin : begin + size]
            assert len(set(one_pass)) == len(one_pass)


def test_the_order_depends_on_seed_and_epoch_alone_and_processes_share_it(monkeypatch):
    first = epochs(3, MixedSampler(dataset(), num_samples=30, seed=1))
    again = MixedSampler(dataset(), num_samples=30, seed=1)
    again.set_epoch(2)  # a training that is resumed has not seen the epochs before
    assert list(again) == first[2] != first[1]
    assert epochs(1, MixedSampler(dataset(), num_samples=30, seed=2)) != first[:1]
    whole, shares = first[0], []
    for rank in range(4):
        monkeypatch.setattr('mmovsam.datasets.samplers.get_dist_info', lambda rank=rank: (rank, 4))
        sampler = MixedSampler(dataset(), num_samples=30, seed=1)
        shares += epochs(1, sampler)
        assert len(shares[-1]) == len(sampler) == 8
    together = [index for step in zip(*shares) for index in step]
    assert together == whole + whole[:2]


def test_groups_make_batches_of_one_data_set_and_what_cannot_be_drawn_is_refused():
    sampler = MixedSampler(dataset(), num_samples=78, group_size=4, seed=1)
    (drawn,) = epochs(1, sampler)
    assert len(drawn) == 80
    batches = sources(drawn).reshape(-1, 4)
    assert (batches == batches[:, :1]).all()
    assert np.bincount(batches[:, 0]).tolist() == [5, 10, 5]
    with pytest.raises(TypeError, match='draws from a MixedDataset'):
        MixedSampler(range(4))
    for settings in (dict(num_samples=0), dict(group_size=0)):
        with pytest.raises(ValueError, match='must be at least 1'):
            MixedSampler(dataset(), seed=0, **settings)
