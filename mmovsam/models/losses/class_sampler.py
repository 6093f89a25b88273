"""Draws a few of very many classes by their frequency."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor


class ClassSampler:
    """Draw classes to compare with, so that the rest of a vocabulary costs nothing.

    A draw takes a time that grows with the number of draws and the logarithm of K.

    Args:
        allowed: `(K,)` bool, which classes may be drawn.
        num_draws: How often a class is drawn, with replacement: so many classes at most. If there
            are no more than these, each is taken.
        frequencies: `(K,)`, how frequent each class is, in any unit, above 0 where it may be drawn.
            By default all are alike.
        power: A class is drawn in proportion to its frequency to this power: 1 for the frequency
            itself, 0 for all alike.
    """

    def __init__(
        self,
        allowed: Tensor,
        num_draws: int,
        frequencies: Tensor | None = None,
        power: float = 0.5,
    ) -> None:
        self.allowed = allowed.cpu()
        self.num_draws = num_draws
        self.classes = self.allowed.nonzero()[:, 0]
        if frequencies is None:
            frequencies = torch.ones(len(self.allowed))
        weights = frequencies.double().cpu()[self.classes] ** power
        self.shares = weights / weights.sum()
        self.cumulative = self.shares.cumsum(0)

    def draw(self, certain: Collection[int]) -> tuple[Tensor, Tensor]:
        """Some classes, and how likely it was that each would be among them.

        PyTorch's generator of random numbers on the CPU is used.

        Args:
            certain: Classes that are taken in any case, if they are allowed; numbers that are no
                class are passed over.

        Returns:
            `(C,)` int64, ascending, each once; and `(C,)` float32, the logarithm of the
            probability to be drawn at least once, 0 for certain ones.
        """
        if self.num_draws >= len(self.classes):
            return self.classes, torch.zeros(len(self.classes))
        drawn = torch.rand(self.num_draws, dtype=torch.float64)
        places = torch.searchsorted(self.cumulative, drawn, right=True)
        places = places.clamp(max=len(self.classes) - 1)  # the sum may be a rounding below 1
        wanted = [label for label in certain if 0 <= label < len(self.allowed)]
        wanted = torch.tensor(sorted(wanted), dtype=torch.long)
        wanted = torch.searchsorted(self.classes, wanted[self.allowed[wanted]])
        places = torch.cat((places, wanted)).unique()
        missed = self.num_draws * torch.log1p(-self.shares[places])
        log_rates = torch.log(-torch.expm1(missed))
        log_rates[torch.searchsorted(places, wanted)] = 0.0
        return self.classes[places], log_rates.float()
