"""Masks decoded in a window around each object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...layers.tensors import of_each
from ...layers.windows import (
    WINDOW,
    around,
    cut_off,
    paste_windows,
    read_windows,
    read_windows_of_each,
    window_grid,
    windows_of,
)
from .mask_ranker import MASK_SIGNS, MaskRanker, best_different, mask_signs

GRIDS = (16, 32, 64)
"""Sides of the grids on which a window is read."""
LEVELS = (slice(1, 5), slice(1, 4), slice(0, 2))
"""Which of the tower's maps are read on each."""
LOGIT_LIMIT = 8.0
"""Logits of an earlier mask are read up to this size."""
CUT_OFF = 0.5
"""Of the quality of a mask that a window around a guess cuts off."""
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


class NormalizedConv(nn.Conv2d):
    """A 1x1 convolution of channels that are normalized first, `(N, C, h, w)` to `(N, D, h, w)`.

    Maps of different layers differ in size by an order of magnitude. `mean` and `std` `(C,)` are
    constants, measured once before training, so that all can be heard.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 1)
        self.register_buffer('mean', torch.zeros(in_channels))
        self.register_buffer('std', torch.ones(in_channels))

    @property
    def is_measured(self) -> bool:
        """Whether the constants are those of maps."""
        return bool((self.std != 1).any())

    def measure(self, maps: Tensor) -> None:
        """Set the constants to those of maps `(N, C, h, w)`."""
        self.mean.copy_(maps.mean((0, 2, 3)))
        self.std.copy_(maps.std((0, 2, 3)).clamp(min=1e-3))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight / self.std[:, None, None]
        return F.conv2d(x, weight, self.bias - (weight[:, :, 0, 0] * self.mean).sum(1))


@MODELS.register_module()
class WindowDecoder(BaseModule):
    """Cut each object out in a window of its own, at the same resolution whatever its size.

    SAM's decoder gives logits of one size for the whole image, where a small object has few. Here
    the maps of the tower are read in a window around each object on grids of 16, 32 and 64
    positions, coarse ones by attention and fine ones by convolutions. What comes out is added to
    the logits of an earlier mask, or to an ellipse in the box where there is none.

    Args:
        image_size: Side of the network's input in pixels.
        in_channels: Of the tower's maps, from stride 2 to 32.
        channels: Width on each grid.
        depth: Transformer blocks on the coarsest grid.
        num_heads: Of their attention.
        point_sizes: Sides of the boxes that are tried around a point, in parts of the input's side;
            none for a decoder that is never asked about points alone.
        init_cfg: MMEngine's initialization.
    """

    def __init__(
        self,
        image_size: int = 512,
        in_channels: Sequence[int] = (16, 24, 48, 120, 352),
        channels: Sequence[int] = (96, 48, 24),
        depth: int = 4,
        num_heads: int = 4,
        point_sizes: Sequence[float] = (0.05, 0.14, 0.28, 0.56),
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.image_size = image_size
        half_sides = torch.tensor(tuple(point_sizes), dtype=torch.float32)[:, None] * (
            image_size / 2
        )
        self.register_buffer('half_sides', half_sides, persistent=False)  # (G, 1)
        coarse, middle, fine = channels
        self.inputs = nn.ModuleList(
            NormalizedConv(sum(in_channels[levels]), width)
            for levels, width in zip(LEVELS, channels)
        )
        self.prompts = nn.ModuleList(nn.Conv2d(PROMPT_CHANNELS, width, 1) for width in channels)
        self.position = nn.Parameter(torch.zeros(1, GRIDS[0] ** 2, coarse))
        nn.init.trunc_normal_(self.position, std=0.02)
        self.blocks = nn.ModuleList(Block(coarse, num_heads) for _ in range(depth))
        self.norm = nn.LayerNorm(coarse)
        self.up1 = nn.ConvTranspose2d(coarse, middle, 2, stride=2)
        self.step1 = nn.Sequential(ConvStep(middle), ConvStep(middle))
        self.up2 = nn.ConvTranspose2d(middle, fine, 2, stride=2)
        self.step2 = ConvStep(fine)
        self.mask = nn.Conv2d(fine, 1, 3, padding=1)
        self.prior = nn.Parameter(torch.tensor([0.5, 2.0]))  # of an earlier mask, of an ellipse
        self.quality = nn.Sequential(
            nn.Linear(2 * coarse + MASK_SIGNS, coarse), nn.GELU(), nn.Linear(coarse, 1)
        )
        self.ranker = MaskRanker(len(half_sides)) if len(half_sides) else None

    @property
    def logit_size(self) -> int:
        """Side of masks over the whole input: as large as it, for the edges of small objects."""
        return self.image_size

    def forward(
        self, maps: Sequence[Tensor], prompts: WindowPrompts
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Masks of N objects of one image, or of one object of each of N images.

        Args:
            maps: The tower's, `(1, C, S / s, S / s)` of strides 2 to 32, or `(N, ...)`.
            prompts: Of the objects.

        Returns:
            Logits `(N, 1, 64, 64)` over the windows, the predicted IoU `(N,)`, and the windows
            `(N, 4)`, xyxy in pixels of the input.
        """
        windows = windows_of(prompts.bboxes)
        return (*self.decide(self.read(maps, prompts, windows)), windows)

    def look(self, maps: Sequence[Tensor], prompts: WindowPrompts) -> tuple[Tensor, Tensor]:
        """Masks over the whole input; a box that is no prompt grows to the points.

        Masks that go on outside of such a window are judged worse.

        Args:
            maps: See `forward`.
            prompts: Of the objects.

        Returns:
            Logits `(N, 1, h, w)` of `logit_size` and the predicted IoU `(N,)`.
        """
        logits, quality, windows = self._look(maps, prompts)
        return paste_windows(logits, windows, self.logit_size, self.image_size), quality

    def _look(
        self, maps: Sequence[Tensor], prompts: WindowPrompts
    ) -> tuple[Tensor, Tensor, Tensor]:
        grown = around(prompts.bboxes, prompts.points, prompts.labels)
        bboxes = torch.where(prompts.given[:, None], prompts.bboxes, grown)
        logits, quality, windows = self(maps, prompts._replace(bboxes=bboxes))
        cut = cut_off(logits, windows, self.image_size) & ~prompts.given
        return logits, torch.where(cut, CUT_OFF * quality, quality), windows

    def segment_points(
        self, maps: Sequence[Tensor], points: Tensor, labels: Tensor, count: int = 1
    ) -> tuple[Tensor, Tensor]:
        """Masks of points alone, which leave open how large the object is.

        Windows of several sizes are tried, and their masks are ranked.

        Args:
            maps: See `forward`.
            points: `(N, P, 2)` xy in pixels of the input.
            labels: `(N, P)`: 1 foreground, 0 background, -1 padding.
            count: Masks of each prompt, M.

        Returns:
            Logits `(N, M, h, w)` of the best masks that differ, and the predicted IoU `(N, M)`.
        """
        logits, quality, windows, masks = self.propose(maps, points, labels)
        ious = self.ranker(masks, quality, logits)
        best = best_different(masks, ious, count)
        logits = logits.gather(1, best[..., None, None].expand(-1, -1, *logits.shape[2:]))
        windows = windows.gather(1, best[..., None].expand(-1, -1, 4))
        return self._paste(logits, windows, self.logit_size), ious.gather(1, best)

    def propose(
        self, maps: Sequence[Tensor], points: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Masks in windows of G sizes, each judged by itself.

        Args:
            maps: See `forward`.
            points: `(N, P, 2)` xy in pixels of the input.
            labels: `(N, P)`: 1 foreground, 0 background, -1 padding.

        Returns:
            Logits `(N, G, 64, 64)`, the predicted IoU `(N, G)`, the windows `(N, G, 4)`, and the
            logits over the input `(N, G, h, w)`, half as large as those of `logit_size`.
        """
        bboxes = self.guesses(points, labels)
        number = bboxes.shape[1]
        guesses = WindowPrompts(
            bboxes.flatten(0, 1),
            torch.zeros_like(bboxes[..., 0], dtype=torch.bool).flatten(),
            of_each(points, number),
            of_each(labels, number),
            points.new_zeros(1, 1, 1, 1).expand(bboxes.shape[0] * number, -1, -1, -1),
        )
        looks = self._look(maps, guesses)
        logits, quality, windows = (part.unflatten(0, (-1, number)) for part in looks)
        logits = logits[:, :, 0]
        return logits, quality, windows, self._paste(logits, windows, self.logit_size // 2)

    def _paste(self, logits: Tensor, windows: Tensor, size: int) -> Tensor:
        """`(N, M, size, size)` over the input, of M windows `(N, M, 4)` each."""
        pasted = paste_windows(
            logits.flatten(0, 1)[:, None], windows.flatten(0, 1), size, self.image_size
        )
        return pasted[:, 0].unflatten(0, (-1, logits.shape[1]))

    def guesses(self, points: Tensor, labels: Tensor) -> Tensor:
        """Boxes `(N, G, 4)` of several sizes around what is clicked."""
        clicked = (labels == 1).to(points)[..., None]
        center = (points * clicked).sum(1, keepdim=True) / clicked.sum(1, keepdim=True).clamp(min=1)
        half = self.half_sides.to(points)
        return torch.cat((center - half, center + half), dim=2)

    def segment_windows(
        self, maps: Sequence[Tensor], prompts: WindowPrompts, count: int = 1
    ) -> tuple[Tensor, Tensor]:
        """Masks of boxes, which may have points, and of earlier masks.

        Args:
            maps: See `forward`.
            prompts: Those of an earlier mask have its box, not `given`.
            count: Masks of each prompt, M: as prompted; without trust in the box and the earlier
                mask; and the first one looked at again.

        Returns:
            Logits `(N, M, h, w)` and the predicted IoU `(N, M)`.
        """
        looks = [self.look(maps, prompts)]
        if count > 1:
            looks.append(
                self.look(
                    maps,
                    prompts._replace(
                        given=torch.zeros_like(prompts.given),
                        previous=torch.zeros_like(prompts.previous),
                    ),
                )
            )
            looks.append(self.look(maps, prompts._replace(previous=looks[0][0])))
        masks, quality = zip(*looks[:count])
        return torch.cat(masks, dim=1), torch.stack(quality, dim=1)

    def read(self, maps: Sequence[Tensor], prompts: WindowPrompts, windows: Tensor) -> list[Tensor]:
        """What is in windows `(N, 4)` of one image, or in one window of each of N images.

        Returns:
            Of each grid `(N, C, g, g)` features and then of each `(N, 9, g, g)` prompts.
        """
        read, previous = [], []
        reader = read_windows if maps[0].shape[0] == 1 else read_windows_of_each
        earlier = prompts.previous.float().clamp(-LOGIT_LIMIT, LOGIT_LIMIT) / LOGIT_LIMIT
        for side, levels in zip(GRIDS, LEVELS):
            places = window_grid(windows, side)
            sampled = [reader(each, places, self.image_size) for each in maps[levels]]
            read.append(torch.cat(sampled, dim=1))
            previous.append(read_windows_of_each(earlier, places, self.image_size)[:, 0])
        return read + self._paint(prompts, windows, previous)

    def decide(self, read: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits `(N, 1, 64, 64)` and predicted IoU `(N,)` of what was read, of any images."""
        logits, tokens = self.decode(read)
        return logits, self._quality(tokens, logits.detach())

    def decode(self, read: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The logits that `decide` gives, and tokens `(N, 256, C)` by which they are judged."""
        number = len(GRIDS)
        coarse, middle, fine = (
            (conv(features) + paint(prompts)).contiguous(memory_format=torch.channels_last)
            for conv, paint, features, prompts in zip(
                self.inputs, self.prompts, read[:number], read[number:]
            )
        )
        tokens = coarse.flatten(2).transpose(1, 2) + self.position
        for block in self.blocks:
            tokens = block(tokens)
        tokens = self.norm(tokens)
        coarse = tokens.transpose(1, 2).unflatten(2, (GRIDS[0], GRIDS[0]))
        coarse = coarse.contiguous(memory_format=torch.channels_last)
        middle = self.step1(middle + self.up1(coarse))
        logits = self.mask(F.gelu(self.step2(fine + self.up2(middle))))
        earlier, ellipse = read[-1][:, -2:-1], read[-1][:, -1:].clamp(min=-2)
        without = (earlier == 0).flatten(1).all(1)[:, None, None, None]
        prior = torch.where(without, self.prior[1] * ellipse, self.prior[0] * LOGIT_LIMIT * earlier)
        return logits + prior, tokens

    def _quality(self, tokens: Tensor, logits: Tensor) -> Tensor:
        """The predicted IoU `(N,)` of masks `(N, 1, 64, 64)`."""
        inside = logits.float().sigmoid()
        on_tokens = F.avg_pool2d(inside, GRIDS[-1] // GRIDS[0]).flatten(1)
        share = on_tokens / on_tokens.sum(1, keepdim=True).clamp(min=1e-3)
        of_mask = torch.einsum('nl,nlc->nc', share.to(tokens), tokens)
        return self.quality(
            torch.cat((tokens.mean(1), of_mask, mask_signs(inside).to(tokens)), dim=1)
        )[:, 0]

    def _paint(
        self, prompts: WindowPrompts, windows: Tensor, previous: Sequence[Tensor]
    ) -> list[Tensor]:
        """`(N, 9, g, g)` of each grid: prompts, places and earlier masks `(N, g, g)` as maps."""
        origin, extent = windows[:, :2], windows[:, 2:] - windows[:, :2]
        # along each axis: positions of all grids, and half of the distance between two
        device = windows.device
        half = torch.cat([torch.full((side,), 0.5 / side, device=device) for side in GRIDS])
        steps = torch.cat([2 * torch.arange(side, device=device) + 1 for side in GRIDS]) * half
        low, high = ((part - origin) / extent for part in prompts.bboxes.split(2, dim=1))
        covered = high[..., None].minimum(steps + half) - low[..., None].maximum(steps - half)
        covered = (covered / (2 * half)).clamp(0, 1)  # (N, 2, 112)
        # distances to points in sixteenths of a window
        points = (prompts.points - origin[:, None]) / extent[:, None]
        near = (-0.5 * (16 * (steps - points[..., None])).square()).exp()  # (N, P, 2, 112)
        places = origin[..., None] + steps * extent[..., None]
        inside = ((places >= 0) & (places < self.image_size)).float()
        relative = WINDOW * (2 * steps - 1)  # to the box: the window is around it
        axes = (part.split(GRIDS, dim=-1) for part in (covered, near, inside, relative))
        maps = []
        for box, near, inside, relative, earlier in zip(*axes, previous):
            box, near, inside = map(_outer, (box, near, inside))
            given = box * prompts.given[:, None, None]
            clicks = [
                (near * (prompts.labels == label)[..., None, None]).sum(1).clamp(max=1)
                for label in (1, 0)
            ]
            x, y = relative.expand_as(box), relative[:, None].expand_as(box)
            ellipse = 1 - x.square() - y.square()
            maps.append(torch.stack((box, given, *clicks, inside, x, y, earlier, ellipse), dim=1))
        return maps


def _outer(axes: Tensor) -> Tensor:
    """`(..., g, g)`, products of what is along x and y, `(..., 2, g)`."""
    return axes[..., 1, :, None] * axes[..., 0, None, :]


def mirrored(read: Sequence[Tensor]) -> list[Tensor]:
    """What `WindowDecoder.read` gives, of windows that are flipped left to right."""
    read = [each.flip(3) for each in read]
    for painted in read[len(GRIDS) :]:
        painted[:, 5].neg_()  # where each position is, along x
    return read
