"""The SAM2CLIP adapter: from CLIP's pyramid to SAM's embedding."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ...layers import ViTBlock, sam_neck
from ..freezable import Freezable


class StageProjection(nn.Module):
    """One convolution from a stage's stride to stride 16, `(B, C_in, H, W)` to `(B, C, h, w)`."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        if stride <= 16:
            kernel = 16 // stride
            self.projection = nn.Conv2d(in_channels, channels, kernel, stride=kernel)
        else:
            kernel = stride // 16
            self.projection = nn.ConvTranspose2d(in_channels, channels, kernel, stride=kernel)

    def forward(self, x: Tensor) -> Tensor:
        return self.projection(x)


@MODELS.register_module()
class SAM2CLIPNeck(Freezable):
    """Adapter from a frozen CLIP tower to SAM's decoder (OVSAM, section 3.2).

    Args:
        in_channels: Channels of the four stages.
        strides: Their strides.
        embed_dim: Width of the transformer blocks.
        num_blocks: Blocks; the last attends globally, the others in windows.
        num_heads: Heads.
        mlp_ratio: Hidden width of the MLPs in units of `embed_dim`.
        window_size: Side of the windows, in positions of stride 16.
        out_channels: Channels of SAM's embedding.
        image_size: Side of the square input in pixels.
        frozen: Keep the neck in eval mode and without gradients.
        with_cp: Gradient checkpointing of the blocks: less memory, more time, the same gradients.
        init_cfg: MMEngine's initialization.
    """

    def __init__(
        self,
        in_channels: Sequence[int] = (384, 768, 1536, 3072),
        strides: Sequence[int] = (4, 8, 16, 32),
        embed_dim: int = 1280,
        num_blocks: int = 5,
        num_heads: int = 16,
        mlp_ratio: float = 4.0,
        window_size: int = 14,
        out_channels: int = 256,
        image_size: int = 1024,
        frozen: bool = False,
        with_cp: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if len(in_channels) != len(strides):
            raise ValueError(f'{len(in_channels)} in_channels but {len(strides)} strides.')
        self.in_channels = tuple(in_channels)
        side = image_size // 16
        self.register_buffer('pos_embed', torch.zeros(1, side, side, embed_dim))
        self.patch_embeds = nn.ModuleList(
            StageProjection(channels, embed_dim, stride)
            for channels, stride in zip(in_channels, strides)
        )
        self.level_encoding = nn.Embedding(len(in_channels), embed_dim)
        self.blocks = nn.ModuleList(
            ViTBlock(
                embed_dim,
                num_heads,
                mlp_ratio,
                window_size=0 if i == num_blocks - 1 else window_size,
                input_size=(side, side),
            )
            for i in range(num_blocks)
        )
        self.neck = sam_neck(embed_dim, out_channels)
        self.with_cp = with_cp
        self.freeze(frozen)

    def forward(self, stages: Sequence[Tensor]) -> Tensor:
        """Embeddings `(B, out_channels, S / 16, S / 16)` of maps `(B, C_i, S / s_i, S / s_i)`.

        Raises:
            ValueError: The maps belong to another input size.
        """
        x = sum(
            embed(stage) + level[:, None, None]
            for embed, stage, level in zip(self.patch_embeds, stages, self.level_encoding.weight)
        )
        if x.shape[-2:] != self.pos_embed.shape[1:3]:
            side = 16 * self.pos_embed.shape[1]
            raise ValueError(
                f'SAM2CLIPNeck was built for {side}x{side} pixels and got maps of '
                f'{16 * x.shape[-2]}x{16 * x.shape[-1]}. Pad the images, or build it with '
                'another image_size.'
            )
        x = x.permute(0, 2, 3, 1) + self.pos_embed
        recompute = self.with_cp and torch.is_grad_enabled()
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False) if recompute else block(x)
        return self.neck(x.permute(0, 3, 1, 2))
