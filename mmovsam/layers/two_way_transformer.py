"""SAM's two-way transformer: prompt tokens and image tokens attend to each other in turn."""

import torch.nn.functional as F
from torch import Tensor, nn

from .mlp import MLPBlock


class ProjectedAttention(nn.Module):
    """Multi-head attention whose projections may narrow the width.

    Args:
        channels: Width C of queries, keys, values and output.
        num_heads: Heads.
        downsample_rate: The inner width is `C // downsample_rate`.
    """

    def __init__(self, channels: int, num_heads: int, downsample_rate: int = 1) -> None:
        super().__init__()
        inner = channels // downsample_rate
        self.num_heads = num_heads
        self.q_proj = nn.Linear(channels, inner)
        self.k_proj = nn.Linear(channels, inner)
        self.v_proj = nn.Linear(channels, inner)
        self.out_proj = nn.Linear(inner, channels)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend.

        Args:
            q: `(N or 1, Q, C)`.
            k: `(N or 1, K, C)`. A first dimension of 1 is shared by all N and projected once.
            v: As `k`.

        Returns:
            `(N, Q, C)`.
        """
        q, k, v = (
            self._heads(self.q_proj(q)),
            self._heads(self.k_proj(k)),
            self._heads(self.v_proj(v)),
        )
        batch = max(q.shape[0], k.shape[0])
        q, k, v = (t.expand(batch, -1, -1, -1) for t in (q, k, v))
        x = F.scaled_dot_product_attention(q, k, v)
        return self.out_proj(x.transpose(1, 2).flatten(2))

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


class TwoWayBlock(nn.Module):
    """One layer: tokens among themselves, tokens to image, MLP, image to tokens.

    Args:
        channels: Width C.
        num_heads: Heads of each attention.
        mlp_channels: Hidden width of the MLP on the tokens.
        downsample_rate: Of the two cross attentions.
        first: Whether this is the first layer, whose self-attention replaces the tokens
            (no residual, no position), as in SAM.
    """

    def __init__(
        self, channels: int, num_heads: int, mlp_channels: int, downsample_rate: int, first: bool
    ) -> None:
        super().__init__()
        self.first = first
        self.self_attn = ProjectedAttention(channels, num_heads)
        self.norm1 = nn.LayerNorm(channels)
        self.cross_attn_token_to_image = ProjectedAttention(channels, num_heads, downsample_rate)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = MLPBlock(channels, mlp_channels, nn.ReLU)
        self.norm3 = nn.LayerNorm(channels)
        self.norm4 = nn.LayerNorm(channels)
        self.cross_attn_image_to_token = ProjectedAttention(channels, num_heads, downsample_rate)

    def forward(
        self, tokens: Tensor, image: Tensor, token_pe: Tensor, image_pe: Tensor
    ) -> tuple[Tensor, Tensor]:
        if self.first:
            tokens = self.self_attn(tokens, tokens, tokens)
        else:
            q = tokens + token_pe
            tokens = tokens + self.self_attn(q, q, tokens)
        tokens = self.norm1(tokens)
        placed_image = image + image_pe
        tokens = self.norm2(
            tokens + self.cross_attn_token_to_image(tokens + token_pe, placed_image, image)
        )
        tokens = self.norm3(tokens + self.mlp(tokens))
        image = self.norm4(
            image + self.cross_attn_image_to_token(placed_image, tokens + token_pe, tokens)
        )
        return tokens, image


class TwoWayTransformer(nn.Module):
    """SAM's decoder transformer (Kirillov et al., 2023, appendix A).

    Args:
        depth: Number of layers.
        channels: Width C.
        num_heads: Heads of each attention.
        mlp_channels: Hidden width of the MLPs.
        downsample_rate: Narrowing inside the cross attentions.
    """

    def __init__(
        self,
        depth: int = 2,
        channels: int = 256,
        num_heads: int = 8,
        mlp_channels: int = 2048,
        downsample_rate: int = 2,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            TwoWayBlock(channels, num_heads, mlp_channels, downsample_rate, first=i == 0)
            for i in range(depth)
        )
        self.final_attn_token_to_image = ProjectedAttention(channels, num_heads, downsample_rate)
        self.norm_final_attn = nn.LayerNorm(channels)

    def forward(self, image: Tensor, image_pe: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Let tokens and image attend to each other.

        Args:
            image: `(N or 1, H * W, C)`. With 1 the image side of the first layer is computed
                once for all N prompts.
            image_pe: `(1, H * W, C)`, position of the image tokens.
            tokens: `(N, T, C)`; also their own position.

        Returns:
            Tokens `(N, T, C)` and image `(N, H * W, C)`.
        """
        token_pe = tokens
        for layer in self.layers:
            tokens, image = layer(tokens, image, token_pe, image_pe)
        tokens = tokens + self.final_attn_token_to_image(tokens + token_pe, image + image_pe, image)
        return self.norm_final_attn(tokens), image
