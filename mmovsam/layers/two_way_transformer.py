"""SAM's two-way transformer: prompt tokens and image tokens attend to each other in turn.

Thousands of image tokens meet a few prompt tokens. An image that all prompts share is projected
once. Images of which each prompt has its own are not: their projections are folded into the prompt
tokens, as `q W_q . k W_k` is `q . (k W_k W_q^T)`, and `a (v W_v) W_o`, a sum of values, is
`a (v W_v W_o)`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import MLPBlock
from .derived import Derived
from .tensors import is_exporting


class ProjectedImage(NamedTuple):
    """What a layer projects an image to, for all prompts."""

    keys: Tensor
    """`(1, heads, L, c)`, that tokens attend to."""
    values: Tensor
    """`(1, heads, L, c)`, that they read."""
    queries: Tensor
    """`(1, heads, L, c)`, scaled, by which the image attends to tokens."""


class ProjectedAttention(Derived):
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

    def derive(self) -> tuple[Tensor, Tensor]:
        """Weights `(3 * inner, C)` and bias of queries, keys and values."""
        parts = self.q_proj, self.k_proj, self.v_proj
        return torch.cat([p.weight for p in parts]), torch.cat([p.bias for p in parts])

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend with `(N, Q, C)` to keys and values `(N, K, C)`: `(N, Q, C)`."""
        if is_exporting() or q is not k:
            q, k, v = self.q_proj(q), self.k_proj(k), self.v_proj(v)
        elif k is v:
            q, k, v = F.linear(q, *self.derived()).chunk(3, dim=-1)
        else:
            weight, bias = (each[: 2 * self.q_proj.out_features] for each in self.derived())
            (q, k), v = F.linear(q, weight, bias).chunk(2, dim=-1), self.v_proj(v)
        attended = F.scaled_dot_product_attention(*map(self._heads, (q, k, v)))
        return self.out_proj(attended.transpose(1, 2).flatten(2))

    def from_image(
        self,
        tokens: Tensor,
        image: Tensor,
        image_with_pe: Tensor | None,
        projected: ProjectedImage | None = None,
    ) -> Tensor:
        """What prompt tokens `(N, T, C)` read from an image `(N or 1, L, C)`: `(N, T, C)`.

        Where all prompts share the image and it was `projected`, its other forms are not read.
        """
        if is_exporting():  # a graph has any number of tokens, and linear layers to quantize
            return self(tokens, image_with_pe, image)
        query = self._query(tokens)
        if projected is not None:
            query = _as_one(self._heads(query))
            read = F.scaled_dot_product_attention(
                query, projected.keys, projected.values, scale=1.0
            )
            return self.out_proj(_of_each(read, tokens.shape[0]).transpose(1, 2).flatten(2))
        # A bias of the keys adds the same to every logit of a query: softmax does not see it.
        query = self._each_head(query, self._by_head(self.k_proj.weight))
        attention = (query @ image_with_pe.mT).softmax(-1)
        bias = self._by_head(self.v_proj.bias[:, None]).mT
        value = self._each_head(attention @ image, self._by_head(self.v_proj.weight).mT, bias)
        return self.out_proj(value.reshape(*tokens.shape[:2], self.out_proj.in_features))

    def to_image(
        self,
        image: Tensor,
        image_with_pe: Tensor | None,
        k: Tensor,
        v: Tensor,
        projected: ProjectedImage | None = None,
    ) -> Tensor:
        """An image `(N or 1, L, C)` with what it reads from tokens `(N, T, C)` added: `(N, L, C)`.

        Where it was `projected`, the form with its position is not read.
        """
        if is_exporting():
            return image + self(image_with_pe, k, v)
        key, value = self.k_proj(k), self.v_proj(v)
        if projected is not None:
            logits = _as_one(self._heads(key)) @ projected.queries.mT
            logits = _of_each(logits, k.shape[0]).transpose(1, 2)
        else:
            bias = (key * self.q_proj.bias).unflatten(-1, (self.num_heads, -1)).sum(-1)
            key = self._each_head(key, self._by_head(self.q_proj.weight))
            scaled = dict(beta=self.scale, alpha=self.scale)
            logits = torch.baddbmm(bias.flatten(1)[..., None], key, image_with_pe.mT, **scaled)
            logits = logits.unflatten(1, bias.shape[1:])
        attention = logits.softmax(1).flatten(1, 2)
        # The weights of a head sum up to one: its values can carry a share of the output's bias.
        weight, share = self._by_head(self.out_proj.weight.T), 1 / self.num_heads
        value = self._each_head(value, weight, self.out_proj.bias, share)
        image = image.expand(value.shape[0], -1, -1)
        return torch.baddbmm(image, attention.mT, value)

    @property
    def scale(self) -> float:
        """Factor on the logits."""
        return (self.q_proj.out_features // self.num_heads) ** -0.5

    def _query(self, x: Tensor) -> Tensor:
        """Queries of `(N, L, C)`, scaled as logits are: `(N, L, inner)`."""
        scaled = dict(beta=self.scale, alpha=self.scale)
        query = torch.addmm(self.q_proj.bias, x.flatten(0, 1), self.q_proj.weight.T, **scaled)
        return query.unflatten(0, x.shape[:2])

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def _by_head(self, weight: Tensor) -> Tensor:
        return weight.unflatten(0, (self.num_heads, -1))

    @staticmethod
    def _each_head(
        x: Tensor, weight: Tensor, bias: Tensor | None = None, share: float = 1.0
    ) -> Tensor:
        """What each head's weights `(heads, a, b)` and a share of a bias make of tokens.

        They are `(N, T, heads * a)` or `(N, T * heads, a)`, the result is `(N, T * heads, b)`. No
        weights are repeated for each prompt, as a product of `(N, heads, T, a)` would.
        """
        rows = x.reshape(-1, *weight.shape[:2]).transpose(0, 1)
        out = None
        plain = not torch.is_grad_enabled() and not torch.compiler.is_compiling()
        if plain and x.dtype == weight.dtype:  # not under autocast, which knows no `out`
            # each head writes beside the others, and no copy brings them together
            out = x.new_empty(rows.shape[1], len(weight), weight.shape[2]).transpose(0, 1)
        if bias is None:
            rows = torch.bmm(rows, weight, out=out)
        else:
            rows = torch.baddbmm(bias, rows, weight, beta=share, out=out)
        count = x.shape[1:].numel() // weight.shape[1]
        return rows.transpose(0, 1).reshape(x.shape[0], count, weight.shape[2])


def _as_one(x: Tensor) -> Tensor:
    """Tokens `(N, heads, T, c)` of all prompts as those of one, `(1, heads, N * T, c)`."""
    return x.transpose(0, 1).flatten(1, 2)[None]


def _of_each(x: Tensor, num: int) -> Tensor:
    """The reverse of `_as_one`."""
    return x[0].unflatten(1, (num, -1)).transpose(0, 1)


class TwoWayBlock(Derived):
    """One layer: tokens among themselves, tokens to image, MLP, image to tokens.

    Args:
        channels: Width C.
        num_heads: Heads of each attention.
        mlp_channels: Hidden width of the MLP on the tokens.
        first: Whether this is the first layer, whose self-attention replaces the tokens
            (no residual, no position), as in SAM.
    """

    def __init__(self, channels: int, num_heads: int, mlp_channels: int, first: bool) -> None:
        super().__init__()
        self.first = first
        self.self_attn = ProjectedAttention(channels, num_heads)
        self.norm1 = nn.LayerNorm(channels)
        self.cross_attn_token_to_image = ProjectedAttention(channels, num_heads, 2)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = MLPBlock(channels, mlp_channels, nn.ReLU)
        self.norm3 = nn.LayerNorm(channels)
        self.norm4 = nn.LayerNorm(channels)
        self.cross_attn_image_to_token = ProjectedAttention(channels, num_heads, 2)

    def project(self, image: Tensor, image_pe: Tensor) -> ProjectedImage:
        """What the layer makes of an image `(1, L, C)` that all prompts share."""
        read = self.cross_attn_token_to_image
        keys, queries = F.linear(image + image_pe, *self.derived()).chunk(2, dim=-1)
        return ProjectedImage(*map(read._heads, (keys, read.v_proj(image), queries)))

    def derive(self) -> tuple[Tensor, Tensor]:
        """Weights and bias of the image's keys, and of its queries, scaled."""
        read, write = self.cross_attn_token_to_image, self.cross_attn_image_to_token
        keys, queries = read.k_proj, write.q_proj
        weight = torch.cat((keys.weight, queries.weight * write.scale))
        return weight, torch.cat((keys.bias, queries.bias * write.scale))

    def forward(
        self,
        tokens: Tensor,
        tokens_with_pe: Tensor,
        image: Tensor,
        token_pe: Tensor,
        image_pe: Tensor,
        projected: ProjectedImage | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens `(N, T, C)`, without and with their position, and image `(N, L, C)`.

        They are those after the layer, see `TwoWayTransformer`.
        """
        if self.first:
            tokens = self.self_attn(tokens, tokens, tokens)
        else:
            tokens = tokens + self.self_attn(tokens_with_pe, tokens_with_pe, tokens)
        tokens = self.norm1(tokens)
        image_with_pe = image + image_pe if projected is None else None
        q = tokens + token_pe
        read = self.cross_attn_token_to_image.from_image(q, image, image_with_pe, projected)
        tokens = self.norm2(tokens + read)
        tokens = self.norm3(tokens + self.mlp(tokens))
        tokens_with_pe = tokens + token_pe
        image = self.cross_attn_image_to_token.to_image(
            image, image_with_pe, tokens_with_pe, tokens, projected
        )
        return tokens, tokens_with_pe, self.norm4(image)


class TwoWayTransformer(nn.Module):
    """SAM's decoder transformer (Kirillov et al., 2023, appendix A).

    Args:
        depth: Number of layers.
        channels: Width C.
        num_heads: Heads of each attention.
        mlp_channels: Hidden width of the MLPs.
    """

    def __init__(
        self,
        depth: int = 2,
        channels: int = 256,
        num_heads: int = 8,
        mlp_channels: int = 2048,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            TwoWayBlock(channels, num_heads, mlp_channels, first=i == 0) for i in range(depth)
        )
        self.final_attn_token_to_image = ProjectedAttention(channels, num_heads, 2)
        self.norm_final_attn = nn.LayerNorm(channels)

    def project(self, image: Tensor, image_pe: Tensor) -> ProjectedImage:
        """What the first layer makes of an image `(1, L, C)` that all prompts share."""
        return self.layers[0].project(image, image_pe)

    def forward(
        self,
        image: Tensor,
        image_pe: Tensor,
        tokens: Tensor,
        projected: ProjectedImage | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Let tokens and image attend to each other.

        Args:
            image: `(N or 1, L, C)`. With 1 all N prompts share it.
            image_pe: `(1, L, C)`, position of the image tokens.
            tokens: `(N, T, C)`; also their own position.
            projected: What `project` made of a shared image, where there are chunks of its prompts.

        Returns:
            Tokens `(N, T, C)` and image `(N, L, C)`.
        """
        shared = image.shape[0] != tokens.shape[0]
        if shared and projected is None and not is_exporting():
            projected = self.project(image, image_pe)
        token_pe = tokens_with_pe = tokens
        for layer in self.layers:
            tokens, tokens_with_pe, image = layer(
                tokens, tokens_with_pe, image, token_pe, image_pe, projected
            )
            projected = None  # from here on each prompt has its own image
        final = self.final_attn_token_to_image
        read = final.from_image(tokens_with_pe, image, image + image_pe)
        return self.norm_final_attn(tokens + read), image
