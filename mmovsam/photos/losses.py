"""Mask losses."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

WINDOW = 0.35
"""Margin around an object's box, as a share of it, in which its mask counts more."""


def windows_of(bboxes: Tensor, size: int, stride: float) -> Tensor:
    """Weights `(N, size, size)` of sum 1 on boxes and their margins, 0 elsewhere.

    Boxes are `(N, 4)` xyxy in pixels of the input, of which `stride` are one position of the maps.
    """
    extent = (bboxes[:, 2:] - bboxes[:, :2]) * WINDOW + 4 * stride
    low, high = (bboxes[:, :2] - extent) / stride, (bboxes[:, 2:] + extent) / stride
    positions = torch.arange(size, device=bboxes.device) + 0.5
    inside = (positions >= low[..., None]) & (positions <= high[..., None])  # (N, 2, size)
    window = (inside[:, 0, None] & inside[:, 1, :, None]).float()
    return window / window.sum((1, 2), keepdim=True).clamp(min=1)


def dice_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """One minus the Dice overlap `(N, M)` of logits and targets `(N, M, h, w)`."""
    inside = logits.sigmoid()
    overlap = (inside * targets).sum((2, 3))
    return 1 - (2 * overlap + 1) / (inside.sum((2, 3)) + targets.sum((2, 3)) + 1)


def mask_losses(logits: Tensor, targets: Tensor, windows: Tensor) -> Tensor:
    """The loss `(N, M)` of each mask: cross entropy near the object and everywhere, and Dice.

    Logits are `(N, M, h, w)`, targets `(N, h, w)` in 0 to 1, windows those of `windows_of`.
    """
    logits, targets = logits.float(), targets[:, None].expand_as(logits)
    entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction='none')
    near = (entropy * windows[:, None]).sum((2, 3))
    everywhere = entropy.mean((2, 3))
    return 2 * near + 2 * everywhere + dice_losses(logits, targets)


@torch.no_grad()
def mask_ious(logits: Tensor, targets: Tensor) -> Tensor:
    """IoU `(N, M)` of mask logits `(N, M, h, w)` with targets `(N, h, w)`."""
    masks, targets = logits > 0, (targets > 0.5)[:, None]
    union = (masks | targets).sum((2, 3))
    return (masks & targets).sum((2, 3)) / union.clamp(min=1)


def interaction_loss(
    logits: Tensor, iou_predictions: Tensor, targets: Tensor, windows: Tensor, with_box: Tensor
) -> Tensor:
    """The loss `(N,)` of the four masks of each prompt and of their predicted IoUs.

    The first mask is for unambiguous prompts, such as those `with_box`; of the three others the
    best one learns (Kirillov et al., 2023, appendix A). Logits are `(N, 4, h, w)`, predicted IoUs
    `(N, 4)`, targets and windows as of `mask_losses`.
    """
    losses = mask_losses(logits, targets, windows)
    first = torch.where(with_box, 1.0, 0.5)
    several = torch.where(with_box, 0.3, 1.0)
    # the other two learn a little, so that none is left behind
    best, mean = losses[:, 1:].amin(1), losses[:, 1:].mean(1)
    ious = mask_ious(logits, targets)
    quality = F.mse_loss(iou_predictions.float(), ious, reduction='none').mean(1)
    return first * losses[:, 0] + several * (0.95 * best + 0.05 * mean) + 2 * quality
