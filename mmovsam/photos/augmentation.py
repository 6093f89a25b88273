"""Batches of augmented photographs, made on the training device."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..layers.bboxes import masks_to_bboxes
from .data import CANVAS, PhotoData

MIN_AREA = 24.0
"""Objects with fewer pixels of the input are left out."""
SCALES = (0.7, 1.6)
"""Range of the scale augmentation, relative to the scale of a test."""
UNCHANGED = 0.4
"""Share of photographs that keep the scale of a test."""
MEAN = STD = 0.5
"""Normalization of images in 0 to 1."""
MIN_VISIBLE = 0.35
"""Objects with a smaller share of their area in the crop are left out."""


@dataclass
class Batch:
    """B photographs and N objects in them.

    Attributes:
        inputs: `(B, 3, S, S)`, normalized.
        image_index: `(N,)`, the photograph of each object.
        objects: `(N,)`, indices of the objects in the data, on the host.
        masks: `(N, S / 2, S / 2)`, the share of each 2x2 square (or another `target_stride`) that
            is inside of the object.
        bboxes: `(N, 4)` xyxy in pixels of the input.
        visible: `(N,)`, the share of the object that is in the input.
        has_mask: `(N,)`; objects without are whole photographs with a name.
    """

    inputs: Tensor
    image_index: Tensor
    objects: Tensor
    masks: Tensor
    bboxes: Tensor
    visible: Tensor
    has_mask: Tensor


def test_transforms(sizes: Tensor) -> Tensor:
    """Transforms of a test: the longer side fills the input, from the upper left corner.

    Takes heights and widths `(B, 2)` and returns `(B, 4)`: scales along x and y (negative where
    mirrored), then offsets, from pixels of the photograph to pixels of the input.
    """
    scale = CANVAS / sizes.amax(1).float()
    zeros = torch.zeros_like(scale)
    return torch.stack((scale, scale, zeros, zeros), dim=1)


def random_transforms(sizes: Tensor, generator: torch.Generator) -> Tensor:
    """Transforms like `test_transforms` with random flip, scale, aspect ratio, crop and position.

    The generator is on the host.
    """
    transforms = test_transforms(sizes)
    count = len(sizes)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=generator)

    factor = uniform(*map(math.log, SCALES)).exp()
    factor = torch.where(uniform(0, 1) < UNCHANGED, torch.ones(count), factor)
    aspect = uniform(math.log(0.85), math.log(1.18)).exp()
    aspect = torch.where(uniform(0, 1) < 0.5, torch.ones(count), aspect)
    scales = transforms[:, :2] * torch.stack((factor * aspect.sqrt(), factor / aspect.sqrt()), 1)
    room = CANVAS - sizes.flip(1) * scales  # left over along x and y, negative where cropped
    position = torch.rand(count, 2, generator=generator)
    # half of the small ones stay in the corner, as in a test
    corner = (torch.rand(count, 1, generator=generator) < 0.5) & (room >= 0)
    offsets = torch.where(corner, torch.zeros_like(room), room * position)
    mirrored = uniform(0, 1) < 0.5
    width = sizes[:, 1] * scales[:, 0]
    offsets[:, 0] = torch.where(mirrored, offsets[:, 0] + width, offsets[:, 0])
    scales[:, 0] = torch.where(mirrored, -scales[:, 0], scales[:, 0])
    return torch.cat((scales, offsets), dim=1)


def sampling_grid(transforms: Tensor, size: int) -> Tensor:
    """Where `size` x `size` positions of the input lie on the canvas, for `grid_sample`."""
    positions = (torch.arange(size, device=transforms.device) + 0.5) * (CANVAS / size)
    scales, offsets = transforms[:, None, :2], transforms[:, None, 2:]
    xy = (positions[None, :, None] - offsets) / scales  # (B, size, 2)
    xy = xy * (2 / CANVAS) - 1
    x = xy[:, None, :, 0].expand(-1, size, -1)
    y = xy[:, :, None, 1].expand(-1, -1, size)
    return torch.stack((x, y), dim=-1)


def change_colors(images: Tensor, generator: torch.Generator) -> Tensor:
    """Jitter brightness, contrast, saturation and tint of images `(B, 3, H, W)` in 0 to 1."""
    count, device = len(images), images.device

    def factors(spread: float, channels: int = 1) -> Tensor:
        noise = 2 * torch.rand(count, channels, 1, 1, generator=generator) - 1
        return (1 + spread * noise).to(device)

    gray = images.mul(images.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    saturation = factors(0.4)
    is_gray = torch.rand(count, 1, 1, 1, generator=generator) < 0.05
    saturation = torch.where(is_gray.to(device), torch.zeros_like(saturation), saturation)
    images = gray + (images - gray) * saturation
    mean = gray.mean((2, 3), keepdim=True)
    images = mean + (images - mean) * factors(0.35)
    return (images * factors(0.3) * factors(0.08, 3)).clamp(0, 1)


@torch.no_grad()
def make_inputs(
    data: PhotoData, indices: Tensor, transforms: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """Transformed inputs `(B, 3, S, S)` of photographs; a generator adds color jitter."""
    grid = sampling_grid(transforms.to(data.device), CANVAS)
    return F.grid_sample(on_gray(data, indices, generator), grid, align_corners=False)


def on_gray(data: PhotoData, indices: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Normalized photographs `(B, 3, S, S)` on a gray canvas; a generator adds color jitter."""
    device, sizes = data.device, data.sizes[indices]
    images = data.images[indices.to(device)].float() / 255
    images = images if generator is None else change_colors(images, generator)
    height, width = (sizes[:, i, None].to(device) for i in (0, 1))
    positions = torch.arange(CANVAS, device=device)
    inside = (positions < height)[:, :, None] & (positions < width)[:, None]
    return (images - MEAN) / STD * inside[:, None]


@torch.no_grad()
def make_batch(
    data: PhotoData,
    indices: Tensor,
    generator: torch.Generator,
    max_objects: int = 6,
    augment: bool = True,
    target_stride: int = 2,
) -> Batch:
    """A batch of the photographs `indices` `(B,)`, with at most `max_objects` objects of each.

    The generator is on the host; its seed determines the batch. Without `augment` photographs are
    as in a test. `target_stride` is the number of input pixels per mask pixel.
    """
    device, sizes = data.device, data.sizes[indices]
    transforms = random_transforms(sizes, generator) if augment else test_transforms(sizes)
    inputs = make_inputs(data, indices, transforms, generator if augment else None)

    chosen, image_index = [], []
    for row, index in enumerate(indices.tolist()):
        objects = data.objects_of[index]
        order = torch.randperm(len(objects), generator=generator)[:max_objects].tolist()
        chosen += [objects[i] for i in order]
        image_index += [row] * len(order)
    chosen = torch.tensor(chosen, dtype=torch.int64)
    image_index = torch.tensor(image_index, dtype=torch.int64)
    transforms = transforms[image_index]
    grid = sampling_grid(transforms.to(device), CANVAS)
    masks = F.grid_sample(data.masks_of(chosen).float(), grid, align_corners=False)[:, 0]
    full = data.areas[chosen] * transforms[:, :2].prod(1).abs()
    area = masks.sum((1, 2))
    visible = area / full.to(device).clamp(min=1)
    keep = (area >= MIN_AREA) & (visible >= MIN_VISIBLE)
    masks, chosen = masks[keep], chosen[keep.cpu()]
    return Batch(
        inputs,
        image_index.to(device)[keep],
        chosen,
        F.avg_pool2d(masks[:, None], target_stride)[:, 0],
        masks_to_bboxes(masks > 0.5).float(),
        visible[keep].clamp(max=1),
        data.has_mask[chosen].to(device),
    )
