"""Masks of prompts of all kinds, by a window decoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...layers import to_device
from ...layers.bboxes import bboxes_of_logits
from ...layers.mask_decoder import DecodedMasks
from ...prompts import Prompts
from ..heads import WindowDecoder, WindowPrompts


def decode_windows(
    decoder: WindowDecoder, maps: Sequence[Tensor], prompts: Prompts, count: int
) -> DecodedMasks:
    """Masks of N prompts of one image, in pixels of the network's input.

    Points alone, which leave the extent open, are looked at in windows of several sizes.

    Args:
        decoder: Of the masks.
        maps: The tower's, see `WindowDecoder.forward`.
        prompts: Best on the host, where they are sorted.
        count: Masks of each prompt, M.

    Returns:
        Logits `(N, M, h, w)` over the input, their predicted IoU, and no tokens.
    """
    prompts, device = prompts.to('cpu'), maps[0].device
    alone = ~prompts.has_bbox & ~prompts.has_mask
    decoded, order = [], []
    for of_points, flags in ((True, alone), (False, ~alone)):
        rows = flags.nonzero()[:, 0]
        if not len(rows) and (len(prompts) or order):
            continue
        group = prompts[rows].to(device)
        if of_points:
            decoded.append(decoder.segment_points(maps, *points_of(group), count))
        else:
            about = _window_prompts(group, decoder.image_size)
            decoded.append(decoder.segment_windows(maps, about, count))
        order.append(rows)
    logits, quality = (torch.cat(parts).to(torch.float32) for parts in zip(*decoded))
    if len(order) > 1:
        back = to_device(torch.cat(order).argsort(), device)
        logits, quality = logits[back], quality[back]
    return DecodedMasks(logits, quality, None)


def points_of(prompts: Prompts) -> tuple[Tensor, Tensor]:
    """Points `(N, P, 2)` and labels `(N, P)` of prompts, P at least 1: padding is -1."""
    points, labels = prompts.point_coords, prompts.point_labels
    if points is None or not points.shape[1]:
        points = torch.zeros(len(prompts), 1, 2, device=prompts.device)
        labels = torch.full((len(prompts), 1), -1, device=prompts.device)
    return points.nan_to_num(0.0), labels


def _window_prompts(prompts: Prompts, input_size: int) -> WindowPrompts:
    """Prompts of which each has a box, or a mask that tells one."""
    previous = torch.zeros(len(prompts), 1, 1, 1, device=prompts.device)
    bboxes = torch.zeros(len(prompts), 4, device=prompts.device)
    if prompts.mask_input is not None:
        with_mask = prompts.has_mask[:, None, None, None]
        previous = torch.where(with_mask, prompts.mask_input, previous)
        bboxes = bboxes_of_logits(previous, input_size)
    if prompts.bboxes is not None:
        bboxes = torch.where(prompts.bboxes.isnan(), bboxes, prompts.bboxes)
    return WindowPrompts(bboxes, prompts.has_bbox, *points_of(prompts), previous)
