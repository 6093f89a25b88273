"""Which of several masks of a click is meant."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MASK_SIGNS = 7


class MaskRanker(nn.Module):
    """Predicts the IoU of masks that were found in windows of several sizes, seen together.

    A mask that other windows agree with, or that holds the others, is more often what was meant
    than its own quality tells. Before training each has the IoU that was predicted of it alone.

    Args:
        num_masks: Masks of a prompt, G, in the order of their windows' sizes.
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
        """The IoU `(N, G)` that is expected of each mask.

        Args:
            masks: `(N, G, h, w)` logits over the whole input.
            quality: `(N, G)`, the IoU that was predicted of each by itself.
            logits: `(N, G, g, g)`, the masks in their windows.
        """
        return self.rank(self.features(masks, quality, logits))

    def rank(self, features: Tensor) -> Tensor:
        """As `forward`, of `features`."""
        usual = ((features - self.mean) / self.std).clamp(-4, 4)
        each = F.gelu(self.each(usual))
        mean = each.mean(1, keepdim=True).expand_as(each)
        correction = self.correction(F.gelu(self.among(torch.cat((each, mean), dim=2))))
        return features[..., 0] + correction[..., 0]

    @staticmethod
    def features(masks: Tensor, quality: Tensor, logits: Tensor) -> Tensor:
        """`(N, G, C)`: how good each mask is by itself, and how it lies to the others."""
        number = masks.shape[1]
        quality = quality.clamp(0, 1)
        both, areas, ious = overlaps(masks)
        covered = both / areas[:, :, None].clamp(min=1)
        size = (areas / (masks.shape[2] * masks.shape[3])).clamp(min=1e-5).log()
        signs = mask_signs(logits.flatten(0, 1)[:, None].float().sigmoid())
        parts = [
            quality[:, :, None],  # first: it is corrected
            quality[:, None].expand(-1, number, -1),
            torch.eye(number, device=masks.device).expand(masks.shape[0], -1, -1),
            signs.unflatten(0, (-1, number)),
            ious,
            covered,
            covered.transpose(1, 2),
            size[:, :, None],
            ious.sum(2, keepdim=True),
            (ious * quality[:, None]).sum(2, keepdim=True),
        ]
        return torch.cat(parts, dim=2)


def overlaps(masks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What the masks of each prompt, logits `(N, G, h, w)`, have in common.

    Returns:
        `(N, G, G)` positions that two have in common, `(N, G)` areas in positions, and `(N, G, G)`
        intersections over unions.
    """
    inside = (masks > 0).flatten(2).float()
    both, areas = inside @ inside.transpose(1, 2), inside.sum(2)
    return both, areas, both / (areas[:, :, None] + areas[:, None] - both).clamp(min=1)


def mask_signs(inside: Tensor) -> Tensor:
    """What shows how sure a mask is, and whether its window holds it.

    Args:
        inside: `(N, 1, g, g)`, 0 to 1.

    Returns:
        `(N, 7)`: its size; how much of it is certain; the agreement of its outlines at two
        thresholds (SAM's stability); how far it meets each of the four sides of the window.
    """
    inside = inside[:, 0]
    total = inside.sum((1, 2)).clamp(min=1e-3)
    size = inside.mean((1, 2)).sqrt()
    certain = inside.square().sum((1, 2)) / total
    stable = (inside > 0.7).sum((1, 2)) / (inside > 0.3).sum((1, 2)).clamp(min=1)
    sides = [inside[:, 0], inside[:, -1], inside[:, :, 0], inside[:, :, -1]]
    return torch.stack((size, certain, stable, *(side.mean(1) for side in sides)), dim=1)


def best_different(masks: Tensor, quality: Tensor, count: int, max_iou: float = 0.8) -> Tensor:
    """Which masks of each prompt are best, each different from those before it where possible.

    Args:
        masks: `(N, C, h, w)` logits.
        quality: `(N, C)`, their predicted IoU.
        count: How many are chosen, at most C.
        max_iou: Of masks that differ.

    Returns:
        `(N, count)` int64, the best first.
    """
    if count == 1:
        return quality.argmax(1, keepdim=True)
    _, _, ious = overlaps(F.adaptive_max_pool2d(masks, 64))
    left, chosen = quality.clone(), []
    for _ in range(count):
        best = left.argmax(1, keepdim=True)
        chosen.append(best)
        alike = ious.gather(1, best[..., None].expand(-1, -1, ious.shape[2]))[:, 0] > max_iou
        left = left - 10.0 * alike  # behind all that differ, but before those that are chosen
        left = left.scatter(1, best, -torch.inf)
    return torch.cat(chosen, dim=1)
