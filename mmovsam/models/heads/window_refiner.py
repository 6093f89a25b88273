"""A second look at each object: its mask anew, in a window of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...layers import box_coverage

GRIDS = (16, 32, 64)
"""Sides of the grids on which a window is read."""
WINDOW = 1.4
"""Side of a window, in sides of the box."""
MIN_WINDOW = 16.0
"""Least side of a window in pixels of the input."""
PROMPT_CHANNELS = 9


class WindowPrompts(NamedTuple):
    """What is known of N objects of one image, in pixels of the network's input."""

    bboxes: Tensor
    """`(N, 4)` xyxy, of the prompt or of an earlier mask."""
    given: Tensor
    """`(N,)` bool, whether the box is a prompt; else it is a guess."""
    points: Tensor
    """`(N, P, 2)` xy."""
    labels: Tensor
    """`(N, P)`: 1 foreground, 0 background, -1 padding."""
    previous: Tensor
    """`(N, 1, h, w)` logits of an earlier mask over the network's input; 0 where there is none."""


class Block(nn.Module):
    """A transformer block, `(N, L, C)` to `(N, L, C)`."""

    def __init__(self, channels: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.lin1 = nn.Linear(channels, 2 * channels)
        self.lin2 = nn.Linear(2 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(self.norm1(x)).unflatten(2, (3, self.num_heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        x = x + self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.lin2(F.gelu(self.lin1(self.norm2(x))))


class ConvStep(nn.Module):
    """Two 3x3 convolutions with a residual, `(N, C, h, w)` to the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.gelu(self.conv1(F.gelu(x))))


@MODELS.register_module()
class WindowRefiner(BaseModule):
    """Cut each object out anew, at the same resolution whatever its size.

    The decoder's logits have one size for the whole image, where a small object has few. Here the
    features of a window around each object are read on grids of 16, 32 and 64 positions, coarse
    ones by attention and fine ones by convolutions.

    Args:
        region_channels: Of the region maps.
        region_strides: Their strides.
        stage4_channels: Of the tower's last map.
        high_res_channels: Of the high-resolution maps, from fine to coarse.
        channels: Width on each grid.
        depth: Transformer blocks on the coarsest grid.
        num_heads: Of their attention.
        frozen: Keep the module without gradients.
        init_cfg: MMEngine's initialization.
    """

    def __init__(
        self,
        region_channels: int = 96,
        region_strides: Sequence[int] = (8, 16, 32),
        stage4_channels: int = 352,
        high_res_channels: Sequence[int] = (16, 32, 64),
        channels: Sequence[int] = (128, 64, 32),
        depth: int = 3,
        num_heads: int = 4,
        frozen: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        coarse, middle, fine = channels
        finest, finer, fine_maps = high_res_channels
        reads = (
            region_channels * len(region_strides) + stage4_channels,
            region_channels + fine_maps + finer,
            fine_maps + finer + finest,
        )
        self.inputs = nn.ModuleList(
            nn.Conv2d(read + PROMPT_CHANNELS, width, 1) for read, width in zip(reads, channels)
        )
        self.position = nn.Parameter(torch.zeros(1, GRIDS[0] ** 2, coarse))
        nn.init.trunc_normal_(self.position, std=0.02)
        self.blocks = nn.ModuleList(Block(coarse, num_heads) for _ in range(depth))
        self.norm = nn.LayerNorm(coarse)
        self.up1 = nn.ConvTranspose2d(coarse, middle, 2, stride=2)
        self.step1 = nn.Sequential(ConvStep(middle), ConvStep(middle))
        self.up2 = nn.ConvTranspose2d(middle, fine, 2, stride=2)
        self.step2 = nn.Sequential(ConvStep(fine), ConvStep(fine))
        self.mask = nn.Conv2d(fine, 1, 3, padding=1)
        self.quality = nn.Sequential(nn.Linear(coarse, coarse), nn.GELU(), nn.Linear(coarse, 1))
        if frozen:
            self.requires_grad_(False)

    def forward(
        self,
        stage4: Tensor,
        region_maps: Sequence[Tensor],
        high_res_maps: Sequence[Tensor],
        prompts: WindowPrompts,
        input_size: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Masks of N objects of one image.

        Args:
            stage4: `(1, C, h, w)`.
            region_maps: `(1, C, h, w)` each.
            high_res_maps: `(1, C, h, w)` each.
            prompts: Of the objects.
            input_size: Side S of the network's input in pixels.

        Returns:
            Logits `(N, 1, 64, 64)` over the windows, the predicted IoU `(N,)`, and the windows
            `(N, 4)`, xyxy in pixels of the input.
        """
        windows = windows_of(prompts.bboxes)
        read = self.read(stage4, region_maps, high_res_maps, prompts, windows, input_size)
        return (*self.decide(read), windows)

    def read(
        self,
        stage4: Tensor,
        region_maps: Sequence[Tensor],
        high_res_maps: Sequence[Tensor],
        prompts: WindowPrompts,
        windows: Tensor,
        input_size: int,
    ) -> list[Tensor]:
        """What is in windows `(N, 4)` of one image: on each grid `(N, C, g, g)`."""
        finest, finer, fine = high_res_maps
        maps_of = ((*region_maps, stage4), (region_maps[0], fine, finer), (fine, finer, finest))
        read = []
        for side, maps in zip(GRIDS, maps_of):
            places = window_grid(windows, side)
            sampled = [read_windows(each, places, input_size) for each in maps]
            sampled.append(self._prompt_channels(prompts, windows, places, input_size))
            sampled = torch.cat([each.to(sampled[0]) for each in sampled], dim=1)
            read.append(sampled.contiguous(memory_format=torch.channels_last))
        return read

    def decide(self, read: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits `(N, 1, 64, 64)` and predicted IoU `(N,)` of what was read, of any images."""
        coarse, middle, fine = (conv(each) for conv, each in zip(self.inputs, read))
        tokens = coarse.flatten(2).transpose(1, 2) + self.position
        for block in self.blocks:
            tokens = block(tokens)
        tokens = self.norm(tokens)
        quality = self.quality(tokens.mean(1))[:, 0]
        coarse = tokens.transpose(1, 2).unflatten(2, (GRIDS[0], GRIDS[0]))
        coarse = coarse.contiguous(memory_format=torch.channels_last)
        middle = self.step1(middle + self.up1(coarse))
        return self.mask(F.gelu(self.step2(fine + self.up2(middle)))), quality

    def _prompt_channels(
        self, prompts: WindowPrompts, windows: Tensor, places: Tensor, input_size: int
    ) -> Tensor:
        """`(N, 9, g, g)`: prompts and places as maps."""
        side = places.shape[1]
        origin, extent = windows[:, :2], windows[:, 2:] - windows[:, :2]
        to_grid = side / extent
        corners = (prompts.bboxes.unflatten(1, (2, 2)) - origin[:, None]) * to_grid[:, None]
        box = box_coverage(corners.flatten(1), side, 1.0)
        given = box * prompts.given[:, None, None]
        # distances to points in sixteenths of a window
        distance = (places[:, None] - prompts.points[:, :, None, None]) / extent[
            :, None, None, None
        ]
        near = (-0.5 * (16 * distance).square().sum(-1)).exp()  # (N, P, g, g)
        clicks = [
            (near * (prompts.labels == label)[..., None, None]).sum(1).clamp(max=1)
            for label in (1, 0)
        ]
        previous = (read_windows_of_each(prompts.previous.float(), places, input_size) / 2).tanh()
        inside = ((places >= 0) & (places < input_size)).all(-1).float()
        center, half = (prompts.bboxes[:, :2] + prompts.bboxes[:, 2:]) / 2, extent / WINDOW / 2
        relative = (places - center[:, None, None]) / half[:, None, None]
        ellipse = 1 - relative.square().sum(-1)
        maps = [box, given, *clicks, previous[:, 0], inside, *relative.unbind(-1), ellipse]
        return torch.stack(maps, dim=1)


def windows_of(bboxes: Tensor) -> Tensor:
    """Windows `(N, 4)` around boxes `(N, 4)`, xyxy."""
    center = (bboxes[:, :2] + bboxes[:, 2:]) / 2
    half = ((bboxes[:, 2:] - bboxes[:, :2]) * WINDOW).clamp(min=MIN_WINDOW) / 2
    return torch.cat((center - half, center + half), dim=1)


def window_grid(windows: Tensor, side: int) -> Tensor:
    """Centers of the positions of windows, `(N, side, side, 2)` xy in pixels."""
    steps = (torch.arange(side, device=windows.device) + 0.5) / side
    xy = windows[:, None, :2] + steps[:, None] * (windows[:, None, 2:] - windows[:, None, :2])
    x = xy[:, None, :, 0].expand(-1, side, -1)
    y = xy[:, :, None, 1].expand(-1, -1, side)
    return torch.stack((x, y), dim=-1)


def read_windows(features: Tensor, places: Tensor, input_size: int) -> Tensor:
    """A map of an image at places in windows, bilinear.

    Args:
        features: `(1, C, h, w)` over the network's input.
        places: `(N, g, g, 2)` xy in pixels of it.
        input_size: Its side.

    Returns:
        `(N, C, g, g)`.
    """
    count, side = places.shape[:2]
    grid = (places * (2 / input_size) - 1).to(features.dtype).reshape(1, count * side, side, 2)
    sampled = F.grid_sample(features, grid, align_corners=False)
    return sampled[0].unflatten(1, (count, side)).transpose(0, 1)


def read_windows_of_each(maps: Tensor, places: Tensor, input_size: int) -> Tensor:
    """As `read_windows`, of a map for each window: `(N, C, h, w)`."""
    return F.grid_sample(maps, places * (2 / input_size) - 1, align_corners=False)


def paste_windows(
    logits: Tensor, windows: Tensor, size: int, input_size: int, outside: float = -10.0
) -> Tensor:
    """Logits of windows as logits over the network's input.

    Args:
        logits: `(N, 1, g, g)`.
        windows: `(N, 4)` xyxy in pixels of the input.
        size: Side of the result.
        input_size: Side of the input.
        outside: What is outside of the windows.

    Returns:
        `(N, 1, size, size)`.
    """
    step = input_size / size
    places = (torch.arange(size, device=logits.device) + 0.5) * step
    extent = windows[:, 2:] - windows[:, :2]
    relative = (places[:, None] - windows[:, None, :2]) / extent[:, None]  # (N, size, 2)
    inside = ((relative >= 0) & (relative <= 1)).unbind(-1)
    inside = inside[1][:, :, None] & inside[0][:, None]
    x, y = (relative * 2 - 1).unbind(-1)
    grid = torch.stack(
        (x[:, None].expand(-1, size, -1), y[:, :, None].expand(-1, -1, size)), dim=-1
    )
    pasted = F.grid_sample(logits.float(), grid, align_corners=False, padding_mode='border')
    return torch.where(inside[:, None], pasted, outside)
