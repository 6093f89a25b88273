"""From embeddings of texts to rows of a classifier."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class KernelMap(nn.Module):
    """Kernel ridge regression with an RBF kernel, `exp(sharpness * (cosine - 1))`.

    Args:
        num_anchors: Texts A that it was fitted on.
        text_channels: Width C of a sentence embedding.
        channels: Width D of a row.
    """

    def __init__(self, num_anchors: int, text_channels: int, channels: int) -> None:
        super().__init__()
        self.anchors = nn.Parameter(torch.zeros(num_anchors, text_channels))
        self.weight = nn.Parameter(torch.zeros(num_anchors, channels))
        self.sharpness = nn.Parameter(torch.zeros(()))

    @classmethod
    def fit(cls, texts: Tensor, rows: Tensor, sharpness: float, ridge: float) -> KernelMap:
        """The map of least regularized squared error.

        Args:
            texts: `(A, C)`, L2 normalized.
            rows: `(A, D)`, what each should become.
            sharpness: Of the kernel.
            ridge: Added to the kernel matrix's diagonal.
        """
        fitted = cls(*texts.shape, rows.shape[1]).requires_grad_(False)
        fitted.anchors.copy_(texts)
        fitted.sharpness.fill_(sharpness)
        kernel = fitted.kernel(texts).double()
        kernel.diagonal().add_(ridge)
        fitted.weight.copy_(torch.linalg.solve(kernel, rows.double()))
        return fitted

    def kernel(self, texts: Tensor) -> Tensor:
        """Similarity `(B, A)` of texts `(B, C)` to the anchors."""
        return torch.exp(self.sharpness * (texts @ self.anchors.T - 1))

    def forward(self, texts: Tensor) -> Tensor:
        """Rows `(B, D)`, not normalized, of texts `(B, C)`, which are."""
        return self.kernel(texts) @ self.weight
