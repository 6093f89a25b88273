"""Regions that the tower sees once more, each in a crop of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ...layers import to_device
from ...layers.tensors import in_parts, of_each
from ...layers.windows import (
    paste_windows,
    read_windows,
    read_windows_of_each,
    window_grid,
    windows_of,
)
from ...prompts import Prompts
from ..heads.window_decoder import WindowPrompts
from .window_masks import points_of

if TYPE_CHECKING:
    from .ovsam import OVSAM

CROP = 1.6
"""Side of a crop, in longer sides of the box."""
MIN_CROP = 16.0
"""Its least side in pixels of the input."""


class RegionCrops(NamedTuple):
    """N square crops of the network's input, encoded each by itself."""

    maps: tuple[Tensor, ...]
    """Of the tower, `(N, C, size / s, size / s)` each."""
    windows: Tensor
    """`(N, 4)` xyxy in pixels of the input."""
    size: int
    """Side of a crop in its own pixels."""

    def inside(self, places: Tensor) -> Tensor:
        """Places `(N, P, 2)` of the input, xy, in pixels of the crops."""
        extent = self.windows[:, 2:] - self.windows[:, :2]
        return (places - self.windows[:, None, :2]) * (self.size / extent)[:, None]

    def outside(self, bboxes: Tensor) -> Tensor:
        """Boxes `(N, 4)` of the crops, xyxy, in pixels of the input."""
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
    """What is in windows `(N, 4)` of an input `(1, 3, S, S)`, as `(N, 3, size, size)`.

    Beyond the input there is the mean color.
    """
    # twice as many positions are read and averaged: a crop may be much smaller than what it shows
    places = window_grid(windows, 2 * size)
    return F.avg_pool2d(read_windows(inputs, places, inputs.shape[-1]), 2)


def encode_crops(model: OVSAM, inputs: Tensor, bboxes: Tensor) -> RegionCrops:
    """Encode crops around regions of one image.

    Args:
        model: With `region_crop`.
        inputs: `(1, 3, S, S)`, the network's input.
        bboxes: `(N, 4)` xyxy in pixels of it.
    """
    windows, dtype = crop_windows(bboxes), model.encoder_dtype or torch.float32
    different, index = windows, None
    if in_parts(windows):  # the masks of a box have one crop
        different, index = windows.unique(dim=0, return_inverse=True)
    pixels = cut_out(inputs, different, model.region_crop)
    with torch.autocast(inputs.device.type, dtype, enabled=dtype != torch.float32):
        maps = model.backbone(pixels)
    maps = tuple(each.float() if index is None else each.float()[index] for each in maps)
    return RegionCrops(maps, windows, model.region_crop)


def pool_crops(model: OVSAM, crops: RegionCrops, bboxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What `RegionNamer` reads of regions in crops.

    Args:
        model: With a `TimmBackbone` and a `RegionNamer`.
        crops: Around the regions.
        bboxes: Of the regions, `(N, 4)` xyxy in pixels of the input.

    Returns:
        The tower's embeddings `(N, D)`, the head's means `(N, H)`, and the boxes `(N, 4)` in pixels
        of the crops.
    """
    bboxes = crops.inside(bboxes.unflatten(1, (2, 2))).flatten(1)
    index = torch.arange(bboxes.shape[0], device=bboxes.device)
    tower = model.backbone
    by_tower = tower.project(tower.pool_regions(tower.embed_map(crops.maps[-1]), index, bboxes))
    maps = model.region_neck(crops.maps[-len(model.region_neck.in_channels) :])
    return by_tower, model.head.pool_regions(maps, bboxes, index), bboxes


def embed_crops(model: OVSAM, crops: RegionCrops, bboxes: Tensor) -> tuple[Tensor, Tensor]:
    """Embeddings of regions as `RegionNamer` and the tower see them in crops.

    Arguments are those of `pool_crops`. There are embeddings by the head and by the tower,
    `(N, D)` each.
    """
    by_tower, pooled, inner = pool_crops(model, crops, bboxes)
    return model.region_namer(by_tower, pooled, inner, crops.size), by_tower


def prompts_in_crops(crops: RegionCrops, prompts: WindowPrompts, input_size: int) -> WindowPrompts:
    """Prompts of an input of this size in pixels of the crops, with what of the masks is there."""
    places = window_grid(crops.windows, crops.size // 2)
    return WindowPrompts(
        crops.inside(prompts.bboxes.unflatten(1, (2, 2))).flatten(1),
        prompts.given,
        crops.inside(prompts.points),
        prompts.labels,
        read_windows_of_each(prompts.previous, places, input_size),
    )


def refine_masks(
    model: OVSAM, crops: RegionCrops, prompts: Prompts, logits: Tensor, bboxes: Tensor
) -> Tensor:
    """Masks after a second look, in crops, which begins with the earlier ones.

    Args:
        model: With a `crop_decoder`.
        crops: Around the boxes.
        prompts: N, in pixels of the input.
        logits: `(N * M, 1, h, w)` over the input, the earlier masks.
        bboxes: `(N * M, 4)` xyxy in pixels of the input, where the masks are.

    Returns:
        Logits `(N * M, 1, h, w)`.
    """
    count = len(bboxes) // max(len(prompts), 1)
    about = (to_device(prompts.has_bbox, logits.device), *points_of(prompts.to(logits.device)))
    about = (of_each(part, count) for part in about)
    return look_again(model, crops, WindowPrompts(bboxes, *about, logits))


def look_again(model: OVSAM, crops: RegionCrops, prompts: WindowPrompts) -> Tensor:
    """As `refine_masks`, of earlier masks that are among the prompts."""
    seen = prompts_in_crops(crops, prompts, model.input_size)
    windows = windows_of(seen.bboxes)
    logits, _ = model.crop_decoder.decode(model.crop_decoder.read(crops.maps, seen, windows))
    size = prompts.previous.shape[-1]
    return paste_windows(logits, crops.outside(windows), size, model.input_size)
