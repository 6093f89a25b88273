"""CLIP's attention pooling of many regions, without projecting every position of each."""

import torch
from torch import Tensor, nn


def attention_pool_regions(pool: nn.Module, regions: Tensor) -> Tensor:
    """Pool regions as an open_clip `AttentionPool2d` does, with one query a region.

    Only the pooled token's output is wanted, so the key projection is folded into the query and the
    value projection into the pooled value: the same algebra, without keys and values of each
    position.

    Args:
        pool: The tower's `attnpool`.
        regions: `(R, C, g, g)`, g the pool's own grid.

    Returns:
        `(R, D)`, not normalized.
    """
    heads = pool.num_heads
    tokens = regions.flatten(2).to(pool.q_proj.weight.dtype)
    position = pool.positional_embedding.to(tokens.dtype)
    mean = tokens.mean(-1, keepdim=True)
    tokens = torch.cat((mean, tokens), dim=-1) + position.T
    channels = tokens.shape[1]
    scale = (channels // heads) ** -0.5

    query = pool.q_proj(tokens[..., 0]).unflatten(-1, (heads, -1)) * scale
    key_weight = pool.k_proj.weight.unflatten(0, (heads, -1))
    # A bias of the keys adds the same to every position's logit: softmax does not see it.
    query = torch.einsum('rhd,hdc->rhc', query, key_weight)
    attention = (query @ tokens).softmax(-1)
    pooled = attention @ tokens.transpose(1, 2)
    value_weight = pool.v_proj.weight.unflatten(0, (heads, -1))
    value = torch.einsum('rhc,hdc->rhd', pooled, value_weight).flatten(1) + pool.v_proj.bias
    return pool.c_proj(value)
