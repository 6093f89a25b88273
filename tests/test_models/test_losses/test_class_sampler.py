"""Classes drawn by frequency."""

import time

import pytest
import torch

from mmovsam.models.losses import ClassSampler


def allowed(num, *forbidden):
    mask = torch.ones(num, dtype=torch.bool)
    mask[list(forbidden)] = False
    return mask


def test_certain_classes_are_always_there_and_forbidden_ones_never():
    sampler = ClassSampler(allowed(50, 3, 4), 10)
    for _ in range(200):
        classes, log_rates = sampler.draw({7, 49})
        assert {7, 49} <= set(classes.tolist()) and not {3, 4} & set(classes.tolist())
        assert classes.tolist() == sorted(set(classes.tolist())) and len(classes) <= 12
        certain = (classes == 7) | (classes == 49)
        assert (log_rates[certain] == 0).all() and (log_rates[~certain] < 0).all()


@pytest.mark.parametrize('power', [0.0, 0.5, 1.0])
def test_stated_rates_are_those_at_which_classes_come(power):
    frequencies = torch.tensor([100.0, 10, 1, 2, 1, 30])
    sampler = ClassSampler(allowed(6, 5), 3, frequencies, power)
    seen, stated = torch.zeros(6), torch.zeros(6)
    rounds = 4000
    for _ in range(rounds):
        classes, log_rates = sampler.draw(())
        seen[classes] += 1
        stated[classes] = log_rates.exp()
    print(seen / rounds, stated)
    assert (seen / rounds - stated).abs().max() < 0.035  # four times the standard error
    shares = torch.where(allowed(6, 5), frequencies**power, 0)
    want = 1 - (1 - shares / shares.sum()) ** 3
    torch.testing.assert_close(stated, want, rtol=1e-5, atol=1e-6)


def test_as_many_draws_as_classes_take_each_once_and_for_certain():
    classes, log_rates = ClassSampler(allowed(20, 5), 19).draw({4})
    assert classes.tolist() == [i for i in range(20) if i != 5]
    assert (log_rates == 0).all()


def test_a_draw_from_many_more_classes_takes_no_longer():
    def seconds(num):
        sampler = ClassSampler(allowed(num), 100)
        times = []
        for _ in range(30):
            start = time.perf_counter()
            sampler.draw({1, 2})
            times.append(time.perf_counter() - start)
        return min(times)

    few, many = seconds(1000), seconds(1_000_000)
    print(few, many)
    assert many < 10 * few  # a pass over all of them would take a thousand times as long
