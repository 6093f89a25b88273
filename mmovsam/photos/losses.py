"""What masks of prompts learn."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

WINDOW = 0.35
"""Around an object's box, in parts of it, where its mask is decided."""


def windows_of(bboxes: Tensor, size: int, stride: float) -> Tensor:
    """Where masks are decided: boxes and what is around them, `(N, size, size)` of sum 1.

    Boxes are `(N, 4)` xyxy in pixels of the input, `stride` of which are one position of the maps.
    """
    extent = (bboxes[:, 2:] - bboxes[:, :2]) * WINDOW + 4 * stride
    low, high = (bboxes[:, :2] - extent) / stride, (bboxes[:, 2:] + extent) / stride
    places = torch.arange(size, device=bboxes.device) + 0.5
    inside = (places >= low[..., None]) & (places <= high[..., None])  # (N, 2, size)
    window = (inside[:, 0, None] & inside[:, 1, :, None]).float()
    return window / window.sum((1, 2), keepdim=True).clamp(min=1)


def dice_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """One minus the Dice overlap `(N, M)` of logits and targets `(N, M, h, w)`."""
    inside = logits.sigmoid()
    overlap = (inside * targets).sum((2, 3))
    return 1 - (2 * overlap + 1) / (inside.sum((2, 3)) + targets.sum((2, 3)) + 1)


def mask_losses(logits: Tensor, targets: Tensor, windows: Tensor) -> Tensor:
    """The loss `(N, M)` of each mask: cross entropy near the object and everywhere, and Dice.

    Logits are `(N, M, h, w)`, targets `(N, h, w)`, 0 to 1, windows those of `windows_of`.
    """
    logits, targets = logits.float(), targets[:, None].expand_as(logits)
    entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction='none')
    near = (entropy * windows[:, None]).sum((2, 3))
    everywhere = entropy.mean((2, 3))
    return 2 * near + 2 * everywhere + dice_losses(logits, targets)


@torch.no_grad()
def mask_ious(logits: Tensor, targets: Tensor) -> Tensor:
    """Intersection over union `(N, M)` of masks `(N, M, h, w)` and of targets `(N, h, w)`."""
    found, wanted = logits > 0, (targets > 0.5)[:, None]
    union = (found | wanted).sum((2, 3))
    return (found & wanted).sum((2, 3)) / union.clamp(min=1)


def interaction_loss(
    logits: Tensor, iou_predictions: Tensor, targets: Tensor, windows: Tensor, with_box: Tensor
) -> Tensor:
    """The loss `(N,)` of the four masks of each prompt, and of what the decoder thinks of them.

    The first mask is for prompts that mean one thing, as those `with_box`; of the three others the
    best one learns (Kirillov et al., 2023, appendix A). Logits are `(N, 4, h, w)`, predicted IoUs
    `(N, 4)`, the others as of `mask_losses`.
    """
    losses = mask_losses(logits, targets, windows)
    first = torch.where(with_box, 1.0, 0.5)
    several = torch.where(with_box, 0.3, 1.0)
    # a little for the others too: none is left behind
    best, mean = losses[:, 1:].amin(1), losses[:, 1:].mean(1)
    ious = mask_ious(logits, targets)
    quality = F.mse_loss(iou_predictions.float(), ious, reduction='none').mean(1)
    return first * losses[:, 0] + several * (0.95 * best + 0.05 * mean) + 2 * quality
