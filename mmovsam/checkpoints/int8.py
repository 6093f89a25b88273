"""Weights of eight bits in files: a quarter of float32, and read back as float32."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

SCALES = '.scales'
LEAST = 4096  # smaller tensors, and those of one dimension, are kept in float16


def to_int8(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Large tensors as int8 with a scale for each of their rows, the others in half precision.

    Beside an int8 `name` of the same shape there is `name.scales`.
    """
    packed = {}
    for name, tensor in state_dict.items():
        if not tensor.is_floating_point():
            packed[name] = tensor
        elif tensor.ndim < 2 or tensor.numel() < LEAST:
            packed[name] = tensor.half()
        else:
            rows = tensor.detach().float().flatten(1)
            scales = rows.abs().amax(1).clamp(min=1e-8) / 127
            codes = (rows / scales[:, None]).round().to(torch.int8)
            packed[name] = codes.reshape(tensor.shape)
            packed[name + SCALES] = scales
    return packed


def from_int8(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What `to_int8` was given, rounded, with its large tensors in float32; others stay."""
    coded = {
        name
        for name, tensor in state_dict.items()
        if tensor.dtype == torch.int8 and name + SCALES in state_dict
    }
    tensors = {}
    for name, tensor in state_dict.items():
        if name in coded:
            shape = (-1, *[1] * (tensor.ndim - 1))
            tensors[name] = tensor.float() * state_dict[name + SCALES].float().reshape(shape)
        elif name.removesuffix(SCALES) not in coded:
            tensors[name] = tensor
    return tensors
