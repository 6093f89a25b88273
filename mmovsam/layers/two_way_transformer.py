"""SAM's two-way transformer: prompt tokens and image tokens attend to each other in turn.

Thousands of image tokens meet a few prompt tokens, so the projections of the image tokens are
folded into the prompt tokens wherever that is less work: `q W_q . k W_k` is `q . (k W_k W_q^T)`,
and `a (v W_v) W_o`, a sum of values, is `a (v W_v W_o)`. It is the same algebra.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .image_updates import ImageUpdate
from .mlp import MLPBlock
from .modes import in_parts, is_exporting


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
            q: `(N, Q, C)`.
            k: `(N, K, C)`.
            v: As `k`.

        Returns:
            `(N, Q, C)`.
        """
        q, k, v = (
            self._heads(self.q_proj(q)),
            self._heads(self.k_proj(k)),
            self._heads(self.v_proj(v)),
        )
        return self._joined(F.scaled_dot_product_attention(q, k, v))

    def folds(self, num_tokens: int, num_images: int) -> bool:
        """Whether to fold is less work than to project all positions of the images."""
        if is_exporting():
            return False  # the number of tokens is any, in a graph
        return self.num_heads * num_tokens < self.q_proj.out_features * num_images

    def keys_and_values(self, placed_image: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """Projected image tokens, `(N or 1, heads, L, c)` both, for `from_image`."""
        return self._heads(self.k_proj(placed_image)), self._heads(self.v_proj(image))

    def queries(self, placed_image: Tensor) -> Tensor:
        """Projected image tokens, `(N or 1, heads, L, c)`, for `to_image`."""
        return self._heads(self.q_proj(placed_image))

    def from_image(self, tokens: Tensor, image: ImageTokens) -> Tensor:
        """What prompt tokens `(N, T, C)` read from an image, of the same shape."""
        query = self._heads(self.q_proj(tokens))
        if image.keys is not None:
            query, num = self._as_one(query, image.keys)
            read = F.scaled_dot_product_attention(query, image.keys, image.values)
            return self._joined(_one_each(read, num))
        # A bias of the keys adds the same to every logit of a query: softmax does not see it.
        query = (query * self._scale @ self._by_head(self.k_proj.weight)).flatten(1, 2)
        attention = _product(query, image.placed.mT).softmax(-1)
        pooled = _product(attention, image.tokens).unflatten(1, (self.num_heads, -1))
        value = (pooled @ self._by_head(self.v_proj.weight).mT).transpose(1, 2).flatten(2)
        return self.out_proj(value + self.v_proj.bias)

    def to_image(
        self, image: ImageTokens, k: Tensor, v: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
        """What an image reads from prompt tokens `(N, T, C)`, added to it.

        Returns:
            The sum `(N, L, C)`, and where projections are folded the two factors of what was added,
            `(N, R, L)` and `(N, R, C)`.
        """
        key, value = self._heads(self.k_proj(k)) * self._scale, self._heads(self.v_proj(v))
        if image.queries is not None:
            key, num = self._as_one(key, image.queries)
            logits = _one_each(key @ image.queries.mT, num)
        else:
            bias = key @ self._by_head(self.q_proj.bias[:, None])
            key = (key @ self._by_head(self.q_proj.weight)).flatten(1, 2)
            logits = _product(key, image.placed.mT).unflatten(1, (self.num_heads, -1)) + bias
        attention = logits.softmax(2)
        if not self.folds(k.shape[1], 1):
            return image.tokens + self._joined(attention.mT @ value), None
        value = value @ self._by_head(self.out_proj.weight.T)
        # The weights of a head sum up to one, so one head's values can carry the output's bias.
        value = torch.cat((value[:, :1] + self.out_proj.bias, value[:, 1:]), dim=1).flatten(1, 2)
        tokens, attention = image.tokens.expand(value.shape[0], -1, -1), attention.flatten(1, 2)
        return torch.baddbmm(tokens, attention.mT, value), (attention, value)

    @property
    def _scale(self) -> float:
        return (self.q_proj.out_features // self.num_heads) ** -0.5

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def _joined(self, x: Tensor) -> Tensor:
        return self.out_proj(x.transpose(1, 2).flatten(2))

    def _by_head(self, weight: Tensor) -> Tensor:
        return weight.unflatten(0, (self.num_heads, -1))

    @staticmethod
    def _as_one(x: Tensor, image: Tensor) -> tuple[Tensor, int]:
        """Tokens `(N, heads, T, c)` of all prompts as those of one, where they share an image."""
        if image.shape[0] == x.shape[0]:
            return x, 1
        return x.transpose(0, 1).flatten(1, 2)[None], x.shape[0]


def _one_each(x: Tensor, num: int) -> Tensor:
    """The reverse of `_as_one`."""
    return x if num == 1 else x[0].unflatten(1, (num, -1)).transpose(0, 1)


def _product(rows: Tensor, image: Tensor) -> Tensor:
    """`rows @ image`, `(N, R, a)` and `(N or 1, a, b)`: one product where the image is shared."""
    if image.shape[0] == rows.shape[0]:
        return torch.bmm(rows, image)
    return (rows.flatten(0, 1) @ image[0]).unflatten(0, rows.shape[:2])


class ImageTokens(NamedTuple):
    """An image, as a layer reads it: one for each of N prompts, or one that all share."""

    tokens: Tensor
    """`(N or 1, L, C)`."""
    placed: Tensor
    """The same with their position."""
    keys: Tensor | None
    """`(N or 1, heads, L, c)`, or None where projections are folded; so are the others."""
    values: Tensor | None
    queries: Tensor | None


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

    def read(self, image: Tensor, image_pe: Tensor, num_tokens: int) -> ImageTokens:
        """Project an image, unless it is less work to fold.

        Args:
            image: `(N or 1, L, C)`.
            image_pe: `(1, L, C)`.
            num_tokens: How many prompt tokens there are, of all prompts together.
        """
        placed = image + image_pe
        keys = values = queries = None
        if not self.cross_attn_token_to_image.folds(num_tokens, image.shape[0]):
            keys, values = self.cross_attn_token_to_image.keys_and_values(placed, image)
            queries = self.cross_attn_image_to_token.queries(placed)
        return ImageTokens(image, placed, keys, values, queries)

    def forward(
        self, tokens: Tensor, image: ImageTokens, token_pe: Tensor
    ) -> tuple[Tensor, Tensor, ImageUpdate | None]:
        """Tokens `(N, T, C)` and image `(N, L, C)` after the layer, and how it got there."""
        if self.first:
            tokens = self.self_attn(tokens, tokens, tokens)
        else:
            q = tokens + token_pe
            tokens = tokens + self.self_attn(q, q, tokens)
        tokens = self.norm1(tokens)
        read = self.cross_attn_token_to_image.from_image(tokens + token_pe, image)
        tokens = self.norm2(tokens + read)
        tokens = self.norm3(tokens + self.mlp(tokens))
        keys = tokens + token_pe
        added, factors = self.cross_attn_image_to_token.to_image(image, keys, tokens)
        if factors is None or not in_parts(added):
            return tokens, self.norm4(added), None
        norm = self.norm4
        own, mean, rstd = torch.native_layer_norm(
            added, norm.normalized_shape, norm.weight, norm.bias, norm.eps
        )
        return tokens, own, ImageUpdate(*factors, mean, rstd, norm)


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
            image: `(N or 1, H * W, C)`. With 1 all N prompts share it.
            image_pe: `(1, H * W, C)`, position of the image tokens.
            tokens: `(N, T, C)`; also their own position.

        Returns:
            Tokens `(N, T, C)` and image `(N, H * W, C)`.
        """
        read = self.read(image, image_pe, tokens.shape[0] * tokens.shape[1])
        return self.attend(read, image_pe, tokens)[:2]

    def read(self, image: Tensor, image_pe: Tensor, num_tokens: int) -> ImageTokens:
        """What the first layer reads of an image: see `TwoWayBlock.read`."""
        return self.layers[0].read(image, image_pe, num_tokens)

    def attend(
        self, image: ImageTokens, image_pe: Tensor, tokens: Tensor
    ) -> tuple[Tensor, Tensor, list[ImageUpdate | None]]:
        """As `forward`, of an image that was read, once for all prompts that share it.

        Returns:
            Tokens, image, and how each layer changed the image.
        """
        token_pe, num_tokens = tokens, tokens.shape[0] * tokens.shape[1]
        first, *others = self.layers
        tokens, own, update = first(tokens, image, token_pe)
        updates = [update]
        for layer in others:
            read = layer.read(own, image_pe, num_tokens)
            tokens, own, update = layer(tokens, read, token_pe)
            updates.append(update)
        final, placed, keys, values = self.final_attn_token_to_image, own + image_pe, None, None
        if not final.folds(num_tokens, own.shape[0]):
            keys, values = final.keys_and_values(placed, own)
        read = final.from_image(tokens + token_pe, ImageTokens(own, placed, keys, values, None))
        return self.norm_final_attn(tokens + read), own, updates
