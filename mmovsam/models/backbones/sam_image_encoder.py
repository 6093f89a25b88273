"""SAM's image encoder, the teacher."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn

from ...layers import ViTBlock, sam_neck
from ..freezable import Freezable


class PatchEmbed(nn.Module):
    """Non-overlapping patches, `(B, 3, H, W)` to `(B, H / p, W / p, C)`."""

    def __init__(self, patch_size: int, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, channels, patch_size, stride=patch_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x.to(self.proj.weight.dtype)).permute(0, 2, 3, 1)


@MODELS.register_module()
class SAMImageEncoder(Freezable):
    """The ViT of Segment Anything with window and global attention.

    The defaults are ViT-H. ViT-L: `embed_dim=1024, depth=24, global_attn_indexes=(5, 11, 17, 23)`;
    ViT-B: `embed_dim=768, depth=12, num_heads=12, global_attn_indexes=(2, 5, 8, 11)`.

    Args:
        image_size: Side of the square input in pixels.
        patch_size: Side of a patch in pixels.
        embed_dim: Width of the transformer.
        depth: Blocks.
        num_heads: Heads.
        mlp_ratio: Hidden width of the MLPs in units of `embed_dim`.
        out_channels: Channels of the embedding.
        window_size: Side of the windows in patches.
        global_attn_indexes: Blocks that attend over the whole image.
        frozen: Keep the encoder in eval mode and without gradients.
        init_cfg: MMEngine's initialization.
    """

    def __init__(
        self,
        image_size: int = 1024,
        patch_size: int = 16,
        embed_dim: int = 1280,
        depth: int = 32,
        num_heads: int = 16,
        mlp_ratio: float = 4.0,
        out_channels: int = 256,
        window_size: int = 14,
        global_attn_indexes: Sequence[int] = (7, 15, 23, 31),
        frozen: bool = True,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if image_size % patch_size:
            raise ValueError(
                f'image_size {image_size} is not a multiple of patch_size {patch_size}.'
            )
        self.image_size = image_size
        side = image_size // patch_size
        self.patch_embed = PatchEmbed(patch_size, embed_dim)
        self.pos_embed = nn.Parameter(torch.zeros(1, side, side, embed_dim))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.blocks = nn.ModuleList(
            ViTBlock(
                embed_dim,
                num_heads,
                mlp_ratio,
                window_size=0 if i in global_attn_indexes else window_size,
                input_size=(side, side),
            )
            for i in range(depth)
        )
        self.neck = sam_neck(embed_dim, out_channels)
        self.freeze(frozen)

    def forward(self, x: Tensor) -> Tensor:
        """Embeddings `(B, out_channels, S / p, S / p)` of normalized images `(B, 3, S, S)`.

        Raises:
            ValueError: S is not the constructor's `image_size`.
        """
        if tuple(x.shape[-2:]) != (self.image_size, self.image_size):
            raise ValueError(
                f'SAMImageEncoder was built for {self.image_size}x{self.image_size} pixels and got '
                f'{tuple(x.shape[-2:])}. Resize and pad the image, or build it with another '
                'image_size.'
            )
        x = self.patch_embed(x) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.neck(x.permute(0, 3, 1, 2))
