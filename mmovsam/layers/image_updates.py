"""What prompts make of an image that they share.

A layer of the decoder adds to each position a sum of a few values, and normalizes it. So the images
of all prompts differ by little, and a linear layer of them needs the shared image only once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ImageUpdate(NamedTuple):
    """How a layer changed an image x: to `norm(x + attention^T values)`, for each of N prompts."""

    attention: Tensor
    """`(N, R, L)`."""
    values: Tensor
    """`(N, R, C)`."""
    mean: Tensor
    """`(N, L, 1)`, of the sum over channels."""
    rstd: Tensor
    """`(N, L, 1)`, the inverse of its standard deviation."""
    norm: nn.LayerNorm


class SharedProjection:
    """A linear layer of the images that prompts make of a shared one.

    Args:
        image: `(1, L, C)`, what they share.
        norms: Of the layers that change it.
        weight: `(D, C)`.
        bias: `(D,)`.
    """

    def __init__(
        self, image: Tensor, norms: Sequence[nn.LayerNorm], weight: Tensor, bias: Tensor
    ) -> None:
        self.weight, self.bias = weight, bias
        for norm in norms:
            weight = weight * norm.weight
        self.shared = F.linear(image, weight)

    def of(self, updates: Sequence[ImageUpdate | None]) -> ProjectedImages | None:
        """The layer's results for some prompts; None where it is not known how a layer changed x.

        With x' = rstd (x + A^T V - mean) g + b, a layer W x' is rstd (W g) x + rstd A^T (V (W g)^T)
        - rstd mean (W g) 1 + W b, and x is what the layer before made of it.
        """
        if None in updates:
            return None
        weight, bias = self.weight, self.bias
        scale = torch.ones_like(updates[-1].mean)
        factors, values = [], []
        for update in reversed(updates):
            num = len(update.values)
            constant = weight @ update.norm.bias + bias
            factors.append(scale.mT)
            values.append(constant.expand(num, 1, -1))
            weight, bias = weight * update.norm.weight, 0
            scale = scale * update.rstd
            factors += [-(scale * update.mean).mT, scale.mT * update.attention]
            values += [weight.sum(1).expand(num, 1, -1), update.values @ weight.T]
        return ProjectedImages(self.shared, scale, torch.cat(factors, 1).mT, torch.cat(values, 1))


class ProjectedImages(NamedTuple):
    """`shared * scale + factors @ values`, made where it is asked for."""

    shared: Tensor
    """`(1, L, D)`."""
    scale: Tensor
    """`(N, L, 1)`."""
    factors: Tensor
    """`(N, L, R)`."""
    values: Tensor
    """`(N, R, D)`."""

    def part(self, prompts: slice, positions: slice) -> Tensor:
        """`(n, l, D)`."""
        shared = self.shared[:, positions] * self.scale[prompts, positions]
        return torch.baddbmm(shared, self.factors[prompts, positions], self.values[prompts])
