"""Tensors that are derived from weights."""

import torch
from torch import nn

from mmovsam.layers.derived import Derived


class Doubled(Derived):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))

    def derive(self):
        return (2 * self.weight,)


def test_derived_tensors_follow_the_weights_until_they_are_kept():
    module = Doubled()
    assert module.derived()[0].requires_grad
    module.load_state_dict(dict(weight=torch.full((2,), 3.0)))
    module.keep_derived()
    module.load_state_dict(dict(weight=torch.zeros(2)))
    assert module.derived()[0].tolist() == [6, 6]
    assert module.double().derived()[0].dtype == torch.double
    assert list(module.state_dict()) == ['weight']
