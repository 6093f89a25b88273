"""Regions encoded again, each in a crop of its own."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ...layers.tensors import in_parts
from ...layers.windows import (
    paste_windows,
    read_windows,
    read_windows_of_each,
    window_grid,
    windows_of,
)
from ..heads import WindowPrompts
from .prompted_detector import PromptedDetector

CROP = 1.6
"""Side of a crop, in units of the box's longer side."""
MIN_CROP = 16.0
"""Minimum side of a crop in pixels of the input."""


class RegionCrops(NamedTuple):
    """Feature maps of N square crops of the network's input."""

    maps: tuple[Tensor, ...]
    """The tower's, `(N, C, size / s, size / s)` each."""
    windows: Tensor
    """`(N, 4)` xyxy in pixels of the input."""
    size: int
    """Side of an encoded crop in pixels."""

    def inside(self, points: Tensor) -> Tensor:
        """Points `(N, P, 2)`, xy, from pixels of the input to pixels of the crops."""
        extent = self.windows[:, 2:] - self.windows[:, :2]
        return (points - self.windows[:, None, :2]) * (self.size / extent)[:, None]

    def outside(self, bboxes: Tensor) -> Tensor:
        """Boxes `(N, 4)`, xyxy, from pixels of the crops to pixels of the input."""
        extent = self.windows[:, 2:] - self.windows[:, :2]
        corners = bboxes.unflatten(1, (2, 2)) * (extent / self.size)[:, None]
        return (corners + self.windows[:, None, :2]).flatten(1)


def crop_windows(bboxes: Tensor) -> Tensor:
    """Squares `(N, 4)` around boxes `(N, 4)`, xyxy."""
    center = (bboxes[:, :2] + bboxes[:, 2:]) / 2
    sides = (bboxes[:, 2:] - bboxes[:, :2]).amax(1, keepdim=True)
    half = (CROP * sides).clamp(min=MIN_CROP) / 2
    return torch.cat((center - half, center + half), dim=1)


def cut_out(inputs: Tensor, windows: Tensor, size: int) -> Tensor:
    """Crop windows `(N, 4)` out of an input `(1, 3, S, S)` and resize them to `(N, 3, size, size)`.

    Beyond the input there is the mean color.
    """
    # sampled at twice the size and averaged, against aliasing where a crop is downscaled
    grid = window_grid(windows, 2 * size)
    return F.avg_pool2d(read_windows(inputs, grid, inputs.shape[-1]), 2)


def encode_crops(model: PromptedDetector, inputs: Tensor, bboxes: Tensor) -> RegionCrops:
    """Encode crops around regions of one image.

    Args:
        model: OVSAM with `region_crop`.
        inputs: `(1, 3, S, S)`, the network's input.
        bboxes: `(N, 4)` xyxy in pixels of it.
    """
    windows, dtype = crop_windows(bboxes), model.encoder_dtype or torch.float32
    distinct, index = windows, None
    if in_parts(windows):  # several masks of one box share a crop
        distinct, index = windows.unique(dim=0, return_inverse=True)
    pixels = cut_out(inputs, distinct, model.region_crop)
    with torch.autocast(inputs.device.type, dtype, enabled=dtype != torch.float32):
        maps = [level.float() for level in model.backbone(pixels)]
    if index is not None:
        maps = [level[index] for level in maps]
    return RegionCrops(tuple(maps), windows, model.region_crop)


def pool_crops(
    model: PromptedDetector, crops: RegionCrops, bboxes: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs of `RegionNamer` for regions in crops.

    Args:
        model: OVSAM with a `TimmBackbone` and a `RegionNamer`.
        crops: Around the regions.
        bboxes: Of the regions, `(N, 4)` xyxy in pixels of the input.

    Returns:
        The tower's embeddings `(N, D)`, the head's pooled features `(N, H)`, and the boxes `(N, 4)`
        in pixels of the crops.
    """
    bboxes = crops.inside(bboxes.unflatten(1, (2, 2))).flatten(1)
    index = torch.arange(bboxes.shape[0], device=bboxes.device)
    tower = model.backbone
    by_tower = tower.project(tower.pool_regions(tower.embed_map(crops.maps[-1]), index, bboxes))
    maps = model.region_neck(crops.maps[-len(model.region_neck.in_channels) :])
    return by_tower, model.head.pool_regions(maps, bboxes, index), bboxes


def embed_crops(
    model: PromptedDetector, crops: RegionCrops, bboxes: Tensor
) -> tuple[Tensor, Tensor]:
    """Embeddings `(N, D)` of regions in crops, by `RegionNamer` and by the tower.

    Arguments are those of `pool_crops`.
    """
    by_tower, pooled, inner = pool_crops(model, crops, bboxes)
    return model.region_namer(by_tower, pooled, inner, crops.size), by_tower


def prompts_in_crops(crops: RegionCrops, prompts: WindowPrompts, input_size: int) -> WindowPrompts:
    """Prompts in pixels of the crops, with the parts of earlier masks that lie there.

    `input_size` is the side of the input, whose pixels the given prompts are in.
    """
    grid = window_grid(crops.windows, crops.size // 2)
    return WindowPrompts(
        crops.inside(prompts.bboxes.unflatten(1, (2, 2))).flatten(1),
        prompts.given,
        crops.inside(prompts.points),
        prompts.labels,
        read_windows_of_each(prompts.previous, grid, input_size),
    )


def refine_masks(model: PromptedDetector, crops: RegionCrops, prompts: WindowPrompts) -> Tensor:
    """Masks decoded again in crops, as logits `(N, 1, h, w)` over the input.

    Args:
        model: OVSAM with a `crop_decoder`.
        crops: Around the boxes.
        prompts: N, with the earlier masks, in pixels of the input.
    """
    crop_prompts = prompts_in_crops(crops, prompts, model.input_size)
    windows = windows_of(crop_prompts.bboxes)
    logits, _ = model.crop_decoder.decode(
        model.crop_decoder.read(crops.maps, crop_prompts, windows)
    )
    size = prompts.previous.shape[-1]
    return paste_windows(logits, crops.outside(windows), size, model.input_size)
