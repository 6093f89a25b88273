"""Prompts of all kinds for a window decoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...layers import to_device
from ...layers.bboxes import bboxes_of_logits
from ...layers.mask_decoder import DecodedMasks
from ...layers.tensors import merge_groups, of_each
from ...prompts import Prompts
from ..heads import WindowDecoder, WindowPrompts


def decode_windows(
    decoder: WindowDecoder, maps: Sequence[Tensor], prompts: Prompts, count: int
) -> DecodedMasks:
    """Masks of N prompts of one image, in pixels of the network's input.

    Prompts of points alone, whose object may be of any size, go through `segment_points`.

    Args:
        decoder: The window decoder.
        maps: The tower's, see `WindowDecoder.forward`.
        prompts: On the host to avoid waiting for the device.
        count: Masks of each prompt, M.

    Returns:
        Logits `(N, M, h, w)` over the input, their predicted IoU, and no tokens.
    """
    prompts, device = prompts.to('cpu'), maps[0].device
    points_only = ~prompts.has_bbox & ~prompts.has_mask
    decoded, order = [], []
    for rows, of_points in ((points_only, True), (~points_only, False)):
        rows = rows.nonzero()[:, 0]
        if not len(rows) and (len(prompts) or order):
            continue
        group = prompts[rows].to(device)
        if of_points:
            logits, quality = decoder.segment_points(maps, *_points_of(group), count)
        else:
            bboxes, masks = _bboxes_and_masks(group, decoder.image_size)
            group = window_prompts(group, bboxes, masks)
            logits, quality = decoder.segment_windows(maps, group, count)
        decoded.append((logits.float(), quality.float()))
        order.append(rows)
    return DecodedMasks(*merge_groups(decoded, order, device), None)


def window_prompts(prompts: Prompts, bboxes: Tensor, previous: Tensor) -> WindowPrompts:
    """Prompts of N objects with M boxes `(N * M, 4)` and earlier masks `(N * M, 1, h, w)` each."""
    count = len(bboxes) // max(len(prompts), 1)
    fields = (prompts.has_bbox, *_points_of(prompts))
    fields = (of_each(to_device(field, bboxes.device), count) for field in fields)
    return WindowPrompts(bboxes, *fields, previous)


def _points_of(prompts: Prompts) -> tuple[Tensor, Tensor]:
    """Points `(N, P, 2)` and labels `(N, P)` of prompts, P at least 1: padding is -1."""
    points, labels = prompts.point_coords, prompts.point_labels
    if points is None or not points.shape[1]:
        points = torch.zeros(len(prompts), 1, 2, device=prompts.device)
        labels = torch.full((len(prompts), 1), -1, device=prompts.device)
    return points.nan_to_num(0.0), labels


def _bboxes_and_masks(prompts: Prompts, input_size: int) -> tuple[Tensor, Tensor]:
    """Boxes `(N, 4)`, those of the masks where there are none, and masks `(N, 1, h, w)`."""
    previous = torch.zeros(len(prompts), 1, 1, 1, device=prompts.device)
    bboxes = torch.zeros(len(prompts), 4, device=prompts.device)
    if prompts.mask_input is not None:
        with_mask = prompts.has_mask[:, None, None, None]
        previous = torch.where(with_mask, prompts.mask_input, previous)
        bboxes = bboxes_of_logits(previous, input_size)
    if prompts.bboxes is not None:
        bboxes = torch.where(prompts.bboxes.isnan(), bboxes, prompts.bboxes)
    return bboxes, previous
