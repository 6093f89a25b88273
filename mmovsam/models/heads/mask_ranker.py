"""Ranking of the masks of an ambiguous click."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MASK_SIGNS = 7
MAX_IOU = 0.8
"""Masks of a click that overlap by more are alike."""


class MaskRanker(nn.Module):
    """Predicts the IoU of each mask of a prompt from all of them.

    A mask that other windows agree with, or that contains the others, is right more often than its
    own predicted IoU says. The output is a correction of that IoU, zero before training.

    Args:
        num_masks: Masks of a prompt, G, by the size of their windows.
        hidden: Width of the hidden layers.
    """

    def __init__(self, num_masks: int, hidden: int = 64) -> None:
        super().__init__()
        inputs = 5 * num_masks + MASK_SIGNS + 4
        self.register_buffer('mean', torch.zeros(inputs))
        self.register_buffer('std', torch.ones(inputs))
        self.each = nn.Linear(inputs, hidden)
        self.among = nn.Linear(2 * hidden, hidden)
        self.correction = nn.Linear(hidden, 1)
        nn.init.zeros_(self.correction.weight)
        nn.init.zeros_(self.correction.bias)

    def forward(self, masks: Tensor, quality: Tensor, logits: Tensor) -> Tensor:
        """The predicted IoU `(N, G)` of each mask.

        Args:
            masks: `(N, G, h, w)` logits over the input.
            quality: `(N, G)`, the IoU predicted for each mask alone.
            logits: `(N, G, g, g)`, the masks in their windows.
        """
        return self.rank(self.features(masks, quality, logits))

    def rank(self, features: Tensor) -> Tensor:
        """As `forward`, of `features`."""
        x = F.gelu(self.each(((features - self.mean) / self.std).clamp(-4, 4)))
        mean = x.mean(1, keepdim=True).expand_as(x)
        correction = self.correction(F.gelu(self.among(torch.cat((x, mean), dim=2))))
        return features[..., 0] + correction[..., 0]

    @staticmethod
    def features(masks: Tensor, quality: Tensor, logits: Tensor) -> Tensor:
        """Features `(N, G, C)` of each mask and of its overlaps with the others."""
        count = masks.shape[1]
        quality = quality.clamp(0, 1)
        intersections, areas, ious = overlaps(masks)
        covered = intersections / areas[:, :, None].clamp(min=1)
        size = (areas / (masks.shape[2] * masks.shape[3])).clamp(min=1e-5).log()
        signs = mask_signs(logits.flatten(0, 1)[:, None].float().sigmoid())
        features = [
            quality[:, :, None],  # first: it is corrected
            quality[:, None].expand(-1, count, -1),
            torch.eye(count, device=masks.device).expand(masks.shape[0], -1, -1),
            signs.unflatten(0, (-1, count)),
            ious,
            covered,
            covered.transpose(1, 2),
            size[:, :, None],
            ious.sum(2, keepdim=True),
            (ious * quality[:, None]).sum(2, keepdim=True),
        ]
        return torch.cat(features, dim=2)


def overlaps(masks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Overlaps of the masks of each prompt, logits `(N, G, h, w)`.

    Returns:
        Intersections `(N, G, G)` and areas `(N, G)` in positions, and IoUs `(N, G, G)`.
    """
    inside = (masks > 0).flatten(2).float()
    intersections, areas = inside @ inside.transpose(1, 2), inside.sum(2)
    unions = areas[:, :, None] + areas[:, None] - intersections
    return intersections, areas, intersections / unions.clamp(min=1)


def mask_signs(inside: Tensor) -> Tensor:
    """Signs `(N, 7)` of the quality of masks `(N, 1, g, g)`, probabilities in their windows.

    They are the size, the mean probability inside, the ratio of areas at two thresholds (as SAM's
    stability score), and the share of each of the window's four sides that is covered.
    """
    inside = inside[:, 0]
    total = inside.sum((1, 2)).clamp(min=1e-3)
    size = inside.mean((1, 2)).sqrt()
    certain = inside.square().sum((1, 2)) / total
    stable = (inside > 0.7).sum((1, 2)) / (inside > 0.3).sum((1, 2)).clamp(min=1)
    sides = [inside[:, 0], inside[:, -1], inside[:, :, 0], inside[:, :, -1]]
    return torch.stack((size, certain, stable, *(side.mean(1) for side in sides)), dim=1)


def best_different(masks: Tensor, quality: Tensor, count: int) -> Tensor:
    """Indices `(N, count)` of the best masks of each prompt, as far as possible different ones.

    Args:
        masks: `(N, C, h, w)` logits.
        quality: `(N, C)`, their predicted IoU.
        count: At most C.
    """
    if count == 1:
        return quality.argmax(1, keepdim=True)
    _, _, ious = overlaps(F.adaptive_max_pool2d(masks, 64))
    scores, chosen = quality, []
    for _ in range(count):
        best = scores.argmax(1, keepdim=True)
        chosen.append(best)
        alike = ious.gather(1, best[..., None].expand(-1, -1, ious.shape[2]))[:, 0] > MAX_IOU
        scores = scores - 10.0 * alike  # behind all that differ, but before those that are chosen
        scores = scores.scatter(1, best, -torch.inf)
    return torch.cat(chosen, dim=1)
