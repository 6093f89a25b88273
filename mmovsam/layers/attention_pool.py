"""CLIP's attention pooling of many regions, without projecting every position of each.

Only the pooled token's output is wanted, so the key projection is folded into the query and the
value projection into the pooled value: the same algebra, without keys and values of each position.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from .roi_align import roi_align_weights
from .tensors import at_least_float32, joined


def attention_pool_boxes(pool: nn.Module, features: Tensor, bboxes: Tensor, scale: float) -> Tensor:
    """Pool what RoIAlign makes of boxes, without making it.

    RoIAlign gives a region weighted means of positions of the map: the dot products of these with a
    query are the same means of the positions' own. So queries meet the map, one box after another
    the part of it that has weight: much less work for small boxes, and a wait for each on a GPU.

    Args:
        pool: An open_clip tower's `attnpool`; the grid of a region is its own.
        features: `(1, C, h, w)`.
        bboxes: `(N, 4)` xyxy in pixels of the input.
        scale: From pixels of the input to positions of the map, 1 / stride.

    Returns:
        `(N, D)`, not normalized.
    """
    position = pool.positional_embedding.to(pool.q_proj.weight.dtype)
    features = features[0].to(position.dtype)
    side = round((len(position) - 1) ** 0.5)
    weights = roi_align_weights(at_least_float32(bboxes), side, scale, *features.shape[-2:])
    down, across = (each.to(features) for each in weights)  # (N, h, side) and (N, w, side)
    share = (down.mean(2)[:, :, None] * across.mean(2)[:, None]).flatten(1)
    key = _folded_query(pool, torch.addmm(position[0], share, features.flatten(1).T))
    pooled = []
    for some, rows, columns in _windows(down, across):
        part, query = features[:, rows, columns].flatten(1), key[some]
        # What each bin takes of each position, (n, positions, side * side):
        bins = down[some, rows, None, :, None] * across[some, None, columns, None]
        bins = bins.flatten(1, 2).flatten(2)
        bins = torch.cat((bins.mean(2, keepdim=True), bins), dim=2)  # the first token is their mean
        attention = torch.baddbmm(query @ position.T, query @ part, bins).softmax(-1)
        pooled.append((attention @ bins.mT) @ part.T + attention @ position)
    return _projected(pool, joined(pooled))


def attention_pool_regions(pool: nn.Module, regions: Tensor) -> Tensor:
    """Pool regions `(R, C, g, g)` as an open_clip `AttentionPool2d` of grid g does: `(R, D)`."""
    tokens = regions.flatten(2).to(pool.q_proj.weight.dtype)
    position = pool.positional_embedding.to(tokens.dtype)
    mean = tokens.mean(-1, keepdim=True)
    tokens = torch.cat((mean, tokens), dim=-1) + position.T
    attention = (_folded_query(pool, tokens[..., 0]) @ tokens).softmax(-1)
    return _projected(pool, attention @ tokens.transpose(1, 2))


def _folded_query(pool: nn.Module, token: Tensor) -> Tensor:
    """The query of tokens `(R, C)`, scaled, as it meets tokens before projection: `(R, heads, C)`.

    A bias of the keys adds the same to every position's logit: softmax does not see it.
    """
    weight = pool.k_proj.weight.unflatten(0, (pool.num_heads, -1))
    scale = weight.shape[1] ** -0.5
    query = torch.addmm(pool.q_proj.bias, token, pool.q_proj.weight.T, beta=scale, alpha=scale)
    return torch.einsum('rhd,hdc->rhc', query.unflatten(1, (pool.num_heads, -1)), weight)


def _projected(pool: nn.Module, pooled: Tensor) -> Tensor:
    """The output `(R, D)` of tokens that each head has summed up, `(R, heads, C)`."""
    weight = pool.v_proj.weight.unflatten(0, (pool.num_heads, -1))
    bias = pool.v_proj.bias.unflatten(0, (pool.num_heads, 1, -1))
    value = torch.baddbmm(bias, pooled.transpose(0, 1), weight.mT)
    return pool.c_proj(value.transpose(0, 1).flatten(1))


def _windows(down: Tensor, across: Tensor) -> Iterator[tuple[slice, slice, slice]]:
    """Each box, and the rows and columns of the map that have weight there."""
    if len(down) == 0:
        yield slice(None), slice(None), slice(None)
    for index, limits in enumerate(zip(*_limits(down), *_limits(across))):
        top, bottom, left, right = limits
        yield slice(index, index + 1), slice(top, bottom), slice(left, right)


def _limits(weights: Tensor) -> tuple[list[int], list[int]]:
    """From where to where each of `(N, length, bins)` has weight; everywhere, if nowhere."""
    seen = weights.detach().ne(0).any(2).int()
    return seen.argmax(1).tolist(), (seen.shape[1] - seen.flip(1).argmax(1)).tolist()
