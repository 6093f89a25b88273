"""Adapters for the families of open_clip image towers: feature pyramids and region embeddings.

The tower, `visual`, stays a submodule of the backbone, so its parameters keep open_clip's names.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...layers import (
    at_least_float32,
    attention_pool_boxes,
    attention_pool_regions,
    resample_abs_pos,
    roi_align,
    to_rois,
)
from ...layers.tensors import is_exporting

STRIDES = (4, 8, 16, 32)


def masked_mean(features: Tensor, mask_logits: Tensor) -> Tensor:
    """Means `(N, C)` of a map `(1, C, h, w)` over masks, logits `(N, 1, H, W)` of the same extent.

    Masks are resized to the map; one that is empty there has zeros.
    """
    logits = F.interpolate(
        mask_logits, size=features.shape[-2:], mode='bilinear', align_corners=False
    )
    inside = (logits > 0).to(features.dtype).flatten(1)
    total = inside.sum(1, keepdim=True).clamp(min=1)
    return inside @ features[0].flatten(1).T / total


class ResNetTower:
    """CLIP's modified ResNet: four stages, regions by RoIAlign and attention pooling."""

    def __init__(self, visual: nn.Module) -> None:
        width = visual.conv3.out_channels
        self.channels = tuple(width * 4 * 2**i for i in range(4))
        self.embed_dim = visual.output_dim
        self.grid = round((visual.attnpool.positional_embedding.shape[0] - 1) ** 0.5)

    def pyramid(self, visual: nn.Module, x: Tensor) -> tuple[Tensor, ...]:
        maps = visual.forward_intermediates(x, indices=[1, 2, 3, 4], intermediates_only=True)
        return tuple(maps['image_intermediates'])

    def embed_regions(
        self, visual: nn.Module, stage4: Tensor, bboxes: Tensor, mask_logits: Tensor
    ) -> Tensor:
        scale = 1 / STRIDES[-1]
        if stage4.device.type == 'cpu' and not is_exporting():
            return attention_pool_boxes(visual.attnpool, stage4, bboxes, scale)
        stage4 = at_least_float32(stage4)  # RoIAlign has no bfloat16
        regions = roi_align(stage4, to_rois(bboxes.to(stage4)), (self.grid, self.grid), scale)
        return attention_pool_regions(visual.attnpool, regions)


class ConvNeXtTower:
    """timm's ConvNeXt inside open_clip: four stages, regions by the mean over the mask."""

    def __init__(self, visual: nn.Module) -> None:
        self.channels = tuple(stage['num_chs'] for stage in visual.trunk.feature_info)
        last = visual.head.proj if hasattr(visual.head, 'proj') else visual.head.mlp.fc2
        self.embed_dim = last.out_features

    def pyramid(self, visual: nn.Module, x: Tensor) -> tuple[Tensor, ...]:
        maps = visual.trunk.forward_intermediates(x, indices=[0, 1, 2, 3], intermediates_only=True)
        return tuple(maps)

    def embed_regions(
        self, visual: nn.Module, stage4: Tensor, bboxes: Tensor, mask_logits: Tensor
    ) -> Tensor:
        pooled = masked_mean(visual.trunk.norm_pre(stage4), mask_logits)
        return visual.head(visual.trunk.head(pooled[..., None, None]))


class ViTTower:
    """CLIP's plain vision transformer: one map of patch tokens at four scales, regions by masks.

    Only the class token is trained to match the text, so the last patch tokens do not. The map at
    stride 32 therefore holds the last block's attention output of each patch for itself alone
    (MaskCLIP, Zhou et al., 2022), whose mean over a mask is normalized and projected like the class
    token. Where CLIP averages its patch tokens (CLIPA), that map holds the last tokens, too.
    """

    def __init__(self, visual: nn.Module) -> None:
        width = visual.conv1.out_channels
        self.channels = (width,) * 4
        self.embed_dim = visual.output_dim

    def pyramid(self, visual: nn.Module, x: Tensor) -> tuple[Tensor, ...]:
        height, width = x.shape[-2:]
        patches = visual.conv1(x)
        grid = patches.shape[-2:]
        tokens = patches.flatten(2).transpose(1, 2)
        position = visual.positional_embedding.to(tokens.dtype)
        side = round((position.shape[0] - 1) ** 0.5)
        pos_embed = resample_abs_pos(position[1:].reshape(1, side, side, -1), tuple(grid))
        cls_token = visual.class_embedding.to(tokens.dtype) + position[0]
        cls_token = cls_token.expand(x.shape[0], 1, -1)
        tokens = torch.cat((cls_token, tokens + pos_embed.flatten(1, 2)), dim=1)
        tokens = visual.ln_pre(tokens)
        _, (before, last) = visual.transformer.forward_intermediates(tokens, indices=2)
        dense = last
        if visual.pool_type != 'avg':
            dense = _attend_to_self(visual.transformer.resblocks[-1], before)
        maps = (_patch_map(level, grid) for level in (last, last, last, dense))
        return tuple(
            _resize(level, (height // stride, width // stride))
            for level, stride in zip(maps, STRIDES)
        )

    def embed_regions(
        self, visual: nn.Module, stage4: Tensor, bboxes: Tensor, mask_logits: Tensor
    ) -> Tensor:
        pooled = visual.ln_post(masked_mean(stage4, mask_logits))
        return pooled if visual.proj is None else pooled @ visual.proj


def _patch_map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Tokens `(B, 1 + h * w, C)`, the class token first, as a map `(B, C, h, w)` of the others."""
    return tokens[:, 1:].transpose(1, 2).unflatten(2, grid)


def _resize(features: Tensor, size: tuple[int, int]) -> Tensor:
    # float: antialiasing has no bfloat16
    resized = F.interpolate(
        features.float(), size, mode='bilinear', align_corners=False, antialias=True
    )
    return resized.to(features.dtype)


def _attend_to_self(block: nn.Module, tokens: Tensor) -> Tensor:
    """A block's attention output for tokens `(B, L, C)` that attend to themselves alone."""
    attention = block.attn
    channels = tokens.shape[-1]
    value = F.linear(
        block.ln_1(tokens),
        attention.in_proj_weight[2 * channels :],
        attention.in_proj_bias[2 * channels :],
    )
    return block.ls_1(attention.out_proj(value))


def describe_tower(visual: nn.Module) -> ResNetTower | ConvNeXtTower | ViTTower | None:
    """The adapter for an open_clip image tower, or None for a family that is not supported."""
    if hasattr(visual, 'attnpool') and hasattr(visual, 'layer4'):
        return ResNetTower(visual)
    if type(getattr(visual, 'trunk', None)).__name__ == 'ConvNeXt':
        return ConvNeXtTower(visual)
    if all(hasattr(visual, name) for name in ('conv1', 'class_embedding', 'ln_post')):
        plain = isinstance(visual.transformer.resblocks[-1].attn, nn.MultiheadAttention)
        if plain and visual.attn_pool is None and visual.pool_type != 'none':
            return ViTTower(visual)
    return None
