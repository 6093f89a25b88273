"""Batches of augmented photographs, made on the device that trains."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..layers.bboxes import masks_to_bboxes
from .data import CANVAS, PhotoData

MIN_AREA = 24.0
"""Objects of fewer pixels of the input are left out."""
SCALES = (0.7, 1.6)
"""Of photographs, beside that of a test."""
UNCHANGED = 0.4
"""Share of photographs at the scale of a test."""
MEAN = STD = 0.5
"""Of images of 0 to 1, as the tower takes them."""
MIN_VISIBLE = 0.35
"""Objects of which less is left in the crop are left out."""


@dataclass
class Batch:
    """B photographs, `inputs` `(B, 3, S, S)`, normalized, and N objects in them.

    Objects have the photograph `image_index` `(N,)`, the index in the data `objects` `(N,)` on the
    host, `masks` `(N, S / 2, S / 2)`, the share of each 2x2 square (or one of another size) that is
    inside, `bboxes` `(N, 4)` xyxy in pixels of the input, `visible` `(N,)`, how much of them is in
    the input, 0 to 1, and `has_mask` `(N,)`; those without are whole photographs with a name.
    """

    inputs: Tensor
    image_index: Tensor
    objects: Tensor
    masks: Tensor
    bboxes: Tensor
    visible: Tensor
    has_mask: Tensor


def test_transforms(sizes: Tensor) -> Tensor:
    """As in a test: the longer side becomes the input's, in the upper left corner.

    Takes heights and widths `(B, 2)` and gives `(B, 4)`: scales along x and y (negative where
    mirrored) and offsets, which take a place of the photograph to the input.
    """
    scale = CANVAS / sizes.amax(1).float()
    zeros = torch.zeros_like(scale)
    return torch.stack((scale, scale, zeros, zeros), dim=1)


def random_transforms(sizes: Tensor, generator: torch.Generator) -> Tensor:
    """Mirrored half of the time, enlarged or made smaller, placed or cropped anywhere.

    As `test_transforms`; the generator is on the host.
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
    place = torch.rand(count, 2, generator=generator)
    # most small ones stay in the corner, where tests have them
    corner = (torch.rand(count, 1, generator=generator) < 0.5) & (room >= 0)
    offsets = torch.where(corner, torch.zeros_like(room), room * place)
    mirrored = uniform(0, 1) < 0.5
    width = sizes[:, 1] * scales[:, 0]
    offsets[:, 0] = torch.where(mirrored, offsets[:, 0] + width, offsets[:, 0])
    scales[:, 0] = torch.where(mirrored, -scales[:, 0], scales[:, 0])
    return torch.cat((scales, offsets), dim=1)


def sampling_grid(transforms: Tensor, size: int) -> Tensor:
    """Where `size` x `size` positions of the input lie on the canvas, for `grid_sample`."""
    places = (torch.arange(size, device=transforms.device) + 0.5) * (CANVAS / size)
    scales, offsets = transforms[:, None, :2], transforms[:, None, 2:]
    xy = (places[None, :, None] - offsets) / scales  # (B, size, 2)
    xy = xy * (2 / CANVAS) - 1
    x = xy[:, None, :, 0].expand(-1, size, -1)
    y = xy[:, :, None, 1].expand(-1, -1, size)
    return torch.stack((x, y), dim=-1)


def change_colors(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images `(B, 3, H, W)`, 0 to 1, of other brightness, contrast, saturation and tint."""
    count, device = len(images), images.device

    def factors(spread: float, channels: int = 1) -> Tensor:
        drawn = torch.rand(count, channels, 1, 1, generator=generator)
        return (1 + spread * (2 * drawn - 1)).to(device)

    gray = images.mul(images.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    saturation = factors(0.4)
    without = torch.rand(count, 1, 1, 1, generator=generator) < 0.05
    saturation = torch.where(without.to(device), torch.zeros_like(saturation), saturation)
    images = gray + (images - gray) * saturation
    mean = gray.mean((2, 3), keepdim=True)
    images = mean + (images - mean) * factors(0.35)
    return (images * factors(0.3) * factors(0.08, 3)).clamp(0, 1)


@torch.no_grad()
def make_inputs(
    data: PhotoData, indices: Tensor, transforms: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """Inputs `(B, 3, S, S)` of photographs, moved and, with a generator, colored."""
    grid = sampling_grid(transforms.to(data.device), CANVAS)
    return F.grid_sample(on_gray(data, indices, generator), grid, align_corners=False)


def on_gray(data: PhotoData, indices: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Photographs `(B, 3, S, S)`, normalized on gray, the mean; colored with a generator."""
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
    """Augment photographs, `(B,)` indices of the data, and choose at most `max_objects` in each.

    Generators are on the host; equal ones give equal batches. Without `augment` photographs are as
    in a test. `target_stride` is how many pixels of the input are one of the masks.
    """
    device, sizes = data.device, data.sizes[indices]
    transforms = random_transforms(sizes, generator) if augment else test_transforms(sizes)
    inputs = make_inputs(data, indices, transforms, generator if augment else None)

    chosen, owners = [], []
    for place, index in enumerate(indices.tolist()):
        objects = data.objects_of[index]
        order = torch.randperm(len(objects), generator=generator)[:max_objects].tolist()
        chosen += [objects[i] for i in order]
        owners += [place] * len(order)
    chosen, owners = (torch.tensor(each, dtype=torch.int64) for each in (chosen, owners))
    transforms = transforms[owners]
    grid = sampling_grid(transforms.to(device), CANVAS)
    masks = F.grid_sample(data.masks_of(chosen).float(), grid, align_corners=False)[:, 0]
    full = data.areas[chosen] * transforms[:, :2].prod(1).abs()
    area = masks.sum((1, 2))
    visible = area / full.to(device).clamp(min=1)
    kept = (area >= MIN_AREA) & (visible >= MIN_VISIBLE)
    masks, chosen = masks[kept], chosen[kept.cpu()]
    return Batch(
        inputs,
        owners.to(device)[kept],
        chosen,
        F.avg_pool2d(masks[:, None], target_stride)[:, 0],
        masks_to_bboxes(masks > 0.5).float(),
        visible[kept].clamp(max=1),
        data.has_mask[chosen].to(device),
    )
