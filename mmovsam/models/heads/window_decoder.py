"""Masks decoded in a window around each object."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...layers.mask_decoder import DecodedMasks
from ...layers.tensors import merge_groups, of_each
from ...layers.windows import (
    around,
    cut_off,
    paste_windows,
    read_windows,
    read_windows_of_each,
    window_grid,
    windows_of,
)
from ...prompts import Prompts
from .mask_ranker import MASK_SIGNS, MaskRanker, best_different, mask_signs
from .window_prompts import (
    GRIDS,
    PROMPT_CHANNELS,
    WindowPrompts,
    bboxes_and_masks,
    points_of,
    window_prompt_maps,
)

LEVELS = (slice(1, 5), slice(1, 4), slice(0, 2))
"""Levels of the tower's maps that are sampled on each grid."""
LOGIT_LIMIT = 8.0
"""Logits of an earlier mask are clamped to this absolute value."""
CUT_OFF = 0.5
"""Factor on the quality of a mask that is cut off by a window around a guess."""


class Block(nn.Module):
    """A pre-norm transformer block, `(N, L, C)` to `(N, L, C)`."""

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
    """A 1x1 convolution of normalized channels, `(N, C, h, w)` to `(N, D, h, w)`.

    Maps of different layers differ in scale by an order of magnitude: `mean` and `std` `(C,)` are
    constants, measured once before training.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 1)
        self.register_buffer('mean', torch.zeros(in_channels))
        self.register_buffer('std', torch.ones(in_channels))

    @property
    def is_measured(self) -> bool:
        """Whether the constants have been measured."""
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
    """Decode each object in a window of its own, at the same resolution whatever its size.

    SAM's decoder gives logits of one size for the whole image, of which a small object has few.
    Here the tower's maps are sampled in a window around each object on grids of 16, 32 and 64
    positions, coarse ones for attention and fine ones for convolutions. The output is added to the
    logits of an earlier mask, or to an ellipse in the box where there is none.

    Args:
        image_size: Side of the network's input in pixels.
        in_channels: Of the tower's maps, from stride 2 to 32.
        channels: Width on each grid.
        depth: Transformer blocks on the coarsest grid.
        num_heads: Of their attention.
        point_sizes: Sides of the boxes that are tried around a point, in parts of the input's side;
            none for a decoder without prompts of points alone.
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
        sizes = torch.tensor(tuple(point_sizes), dtype=torch.float32)[:, None]
        self.register_buffer('half_sides', sizes * (image_size / 2), persistent=False)  # (G, 1)
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
        self.ranker = MaskRanker(len(sizes)) if len(sizes) else None

    @property
    def logit_size(self) -> int:
        """Side of logits over the input: as large as it, for the edges of small objects."""
        return self.image_size

    def decode_prompts(
        self, maps: Sequence[Tensor], prompts: Prompts, count: int = 1
    ) -> DecodedMasks:
        """Masks of N prompts of all kinds of one image, in pixels of the network's input.

        Args:
            maps: See `forward`.
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
                logits, quality = self.segment_points(maps, *points_of(group), count)
            else:
                group = WindowPrompts.of(group, *bboxes_and_masks(group, self.image_size))
                logits, quality = self.segment_windows(maps, group, count)
            decoded.append((logits.float(), quality.float()))
            order.append(rows)
        return DecodedMasks(*merge_groups(decoded, order, device), None)

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

    def segment(self, maps: Sequence[Tensor], prompts: WindowPrompts) -> tuple[Tensor, Tensor]:
        """Masks over the input, logits `(N, 1, h, w)`, and their predicted IoU `(N,)`.

        A box that is a guess grows to include the foreground points, and a mask that its window
        cuts off has a lower IoU. Arguments are those of `forward`.
        """
        logits, quality, windows = self._segment_in_windows(maps, prompts)
        return paste_windows(logits, windows, self.logit_size, self.image_size), quality

    def _segment_in_windows(
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
        """Masks of points alone, which are ambiguous: the best ones of windows of several sizes.

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
        """Masks of points alone in windows of G sizes, not yet ranked.

        Arguments are those of `segment_points`.

        Returns:
            Logits `(N, G, 64, 64)`, the predicted IoU `(N, G)`, the windows `(N, G, 4)`, and the
            logits over the input `(N, G, h, w)`, half as large as those of `logit_size`.
        """
        bboxes = self.guesses(points, labels)
        count = bboxes.shape[1]
        prompts = WindowPrompts(
            bboxes.flatten(0, 1),
            torch.zeros_like(bboxes[..., 0], dtype=torch.bool).flatten(),
            of_each(points, count),
            of_each(labels, count),
            points.new_zeros(1, 1, 1, 1).expand(bboxes.shape[0] * count, -1, -1, -1),
        )
        outputs = self._segment_in_windows(maps, prompts)
        logits, quality, windows = (output.unflatten(0, (-1, count)) for output in outputs)
        logits = logits[:, :, 0]
        return logits, quality, windows, self._paste(logits, windows, self.logit_size // 2)

    def _paste(self, logits: Tensor, windows: Tensor, size: int) -> Tensor:
        """`(N, M, size, size)` over the input, of M windows `(N, M, 4)` each."""
        pasted = paste_windows(
            logits.flatten(0, 1)[:, None], windows.flatten(0, 1), size, self.image_size
        )
        return pasted[:, 0].unflatten(0, (-1, logits.shape[1]))

    def guesses(self, points: Tensor, labels: Tensor) -> Tensor:
        """Boxes `(N, G, 4)` of several sizes around the mean of the foreground points."""
        foreground = (labels == 1).to(points)[..., None]
        count = foreground.sum(1, keepdim=True).clamp(min=1)
        center = (points * foreground).sum(1, keepdim=True) / count
        half = self.half_sides.to(points)
        return torch.cat((center - half, center + half), dim=2)

    def segment_windows(
        self, maps: Sequence[Tensor], prompts: WindowPrompts, count: int = 1
    ) -> tuple[Tensor, Tensor]:
        """Masks of boxes, which may have points, and of earlier masks.

        Args:
            maps: See `forward`.
            prompts: Those of an earlier mask have its box, not `given`.
            count: Masks of each prompt, M: as prompted; with the box as a guess and without the
                earlier mask; and the first one refined.

        Returns:
            Logits `(N, M, h, w)` and the predicted IoU `(N, M)`.
        """
        outputs = [self.segment(maps, prompts)]
        if count > 1:
            guess = prompts._replace(
                given=torch.zeros_like(prompts.given),
                previous=torch.zeros_like(prompts.previous),
            )
            outputs.append(self.segment(maps, guess))
            outputs.append(self.segment(maps, prompts._replace(previous=outputs[0][0])))
        masks, quality = zip(*outputs[:count])
        return torch.cat(masks, dim=1), torch.stack(quality, dim=1)

    def read(self, maps: Sequence[Tensor], prompts: WindowPrompts, windows: Tensor) -> list[Tensor]:
        """The decoder's inputs in windows `(N, 4)` of one image, or one window of each of N images.

        Returns:
            On each grid `(N, C, g, g)` features, then on each grid `(N, 9, g, g)` prompts.
        """
        features, previous = [], []
        reader = read_windows if maps[0].shape[0] == 1 else read_windows_of_each
        earlier = prompts.previous.float().clamp(-LOGIT_LIMIT, LOGIT_LIMIT) / LOGIT_LIMIT
        for side, levels in zip(GRIDS, LEVELS):
            grid = window_grid(windows, side)
            sampled = [reader(level, grid, self.image_size) for level in maps[levels]]
            features.append(torch.cat(sampled, dim=1))
            previous.append(read_windows_of_each(earlier, grid, self.image_size)[:, 0])
        return features + window_prompt_maps(prompts, windows, previous, self.image_size)

    def decide(self, inputs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits `(N, 1, 64, 64)` and predicted IoU `(N,)` of inputs as `read` gives them."""
        logits, tokens = self.decode(inputs)
        return logits, self._quality(tokens, logits.detach())

    def decode(self, inputs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits `(N, 1, 64, 64)`, and tokens `(N, 256, C)` for the IoU prediction."""
        features, prompts = inputs[: len(GRIDS)], inputs[len(GRIDS) :]
        coarse, middle, fine = (
            (conv(x) + prompt_conv(y)).contiguous(memory_format=torch.channels_last)
            for conv, prompt_conv, x, y in zip(self.inputs, self.prompts, features, prompts)
        )
        tokens = coarse.flatten(2).transpose(1, 2) + self.position
        for block in self.blocks:
            tokens = block(tokens)
        tokens = self.norm(tokens)
        coarse = tokens.transpose(1, 2).unflatten(2, (GRIDS[0], GRIDS[0]))
        coarse = coarse.contiguous(memory_format=torch.channels_last)
        middle = self.step1(middle + self.up1(coarse))
        logits = self.mask(F.gelu(self.step2(fine + self.up2(middle))))
        earlier, ellipse = prompts[-1][:, -2:-1], prompts[-1][:, -1:].clamp(min=-2)
        without = (earlier == 0).flatten(1).all(1)[:, None, None, None]
        prior = torch.where(without, self.prior[1] * ellipse, self.prior[0] * LOGIT_LIMIT * earlier)
        return logits + prior, tokens

    def _quality(self, tokens: Tensor, logits: Tensor) -> Tensor:
        """The predicted IoU `(N,)` of masks `(N, 1, 64, 64)`."""
        inside = logits.float().sigmoid()
        on_tokens = F.avg_pool2d(inside, GRIDS[-1] // GRIDS[0]).flatten(1)
        share = on_tokens / on_tokens.sum(1, keepdim=True).clamp(min=1e-3)
        pooled = torch.einsum('nl,nlc->nc', share.to(tokens), tokens)
        signs = mask_signs(inside).to(tokens)
        return self.quality(torch.cat((tokens.mean(1), pooled, signs), dim=1))[:, 0]


def mirrored(inputs: Sequence[Tensor]) -> list[Tensor]:
    """Inputs of the decoder, see `WindowDecoder.read`, flipped left to right."""
    inputs = [level.flip(3) for level in inputs]
    for maps in inputs[len(GRIDS) :]:
        maps[:, 5].neg_()  # the x coordinate
    return inputs
