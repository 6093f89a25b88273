"""Weights in few bits: a scale for each group of numbers, and small integers packed into bytes."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

_BITS = range(2, 9)
_SHRINKS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75)  # of the largest number, to round the others better


def quantize(weight: Tensor, bits: int, group: int | None = None) -> tuple[Tensor, Tensor]:
    """Round a matrix (R, C) to signed integers of 2 to 8 bits, C / group of which share a scale.

    Returns:
        Codes `(R, C)` int8 and scales `(R, C / group)` float16; `dequantize` gives the matrix back.
        Of several scales each group has the one of the smallest squared error.
    """
    rows, columns = weight.shape
    group = columns if group is None else group
    if bits not in _BITS or columns % group:
        raise ValueError(f'cannot round {columns} columns to {bits} bits in groups of {group}')
    values = weight.float().reshape(rows, columns // group, group)
    largest = 2 ** (bits - 1) - 1
    top = values.abs().amax(-1, keepdim=True) / largest
    best, best_scale, least = values, top.half(), torch.full_like(top, torch.inf)
    for shrink in _SHRINKS if bits < 8 else (1.0,):
        scale = (top * shrink).half().clamp_min(torch.finfo(torch.float16).tiny)
        codes = (values / scale.float()).round().clamp(-largest - 1, largest)
        error = (codes * scale.float() - values).square().sum(-1, keepdim=True)
        better = error < least
        best = torch.where(better, codes, best)
        best_scale = torch.where(better, scale, best_scale)
        least = torch.minimum(error, least)
    return best.reshape(rows, columns).to(torch.int8), best_scale[..., 0]


def dequantize(codes: Tensor, scales: Tensor) -> Tensor:
    """The matrix `(R, C)` float32 of codes `(R, C)` and scales `(R, C / group)`."""
    groups = codes.reshape(*scales.shape, -1)
    return (groups.float() * scales.float()[..., None]).reshape(codes.shape)


def pack(codes: Tensor, bits: int) -> Tensor:
    """Integers (R, C) int8 of a few bits as `(R, C * bits / 8)` uint8, the lowest bits first."""
    numbers, size = _chunk(bits)
    if codes.shape[1] % numbers:
        raise ValueError(f'rows of {codes.shape[1]} numbers of {bits} bits do not fill bytes')
    values = (codes.to(torch.int64) & (1 << bits) - 1).unflatten(1, (-1, numbers))
    words = (values << bits * torch.arange(numbers)).sum(-1, keepdim=True)
    return (words >> 8 * torch.arange(size) & 0xFF).flatten(1).to(torch.uint8)


def unpack(packed: Tensor, bits: int) -> Tensor:
    """The numbers (R, 8 N / bits) int8 of `pack`ed bytes (R, N) uint8."""
    numbers, size = _chunk(bits)
    dtype = torch.int32 if size < 4 else torch.int64  # the smaller one is the faster
    parts = packed.unflatten(1, (-1, size))
    words = sum(parts[..., k].to(dtype) << 8 * k for k in range(size))
    half, mask = 1 << bits - 1, (1 << bits) - 1
    values = [((words >> bits * k & mask) ^ half) - half for k in range(numbers)]
    return torch.stack(values, -1).flatten(1).to(torch.int8)


def _chunk(bits: int) -> tuple[int, int]:
    """How many numbers fill how many bytes."""
    size = math.lcm(8, bits)
    return size // bits, size // 8


def pack_matrix(weight: Tensor, bits: int, group: int | None = None) -> dict[str, Tensor]:
    """A matrix as tensors of a file, see `quantize`: packed codes, such as `q4`, and `scales`."""
    codes, scales = quantize(weight, bits, group)
    return {f'q{bits}': pack(codes, bits), 'scales': scales}


def unpack_matrices(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a file in float32, with matrices `name` of what `pack_matrix` made of them.

    Those are called `name.q4` (or another number of bits) and `name.scales`.
    """
    state = {}
    for key, tensor in tensors.items():
        name, _, kind = key.rpartition('.')
        if kind == 'scales' and any(f'{name}.q{bits}' in tensors for bits in _BITS):
            continue
        if kind[:1] == 'q' and kind[1:].isdecimal():
            bits, scales = int(kind[1:]), tensors.get(f'{name}.scales')
            if scales is None or not _fit(tensor, scales, bits):
                raise ValueError(f'the packed matrix {name!r} is not whole')
            state[name] = dequantize(unpack(tensor, bits), scales)
        else:
            state[key] = tensor.float() if tensor.is_floating_point() else tensor
    return state


def _fit(packed: Tensor, scales: Tensor, bits: int) -> bool:
    """Whether these are the two parts of a matrix."""
    if bits not in _BITS or packed.dtype != torch.uint8 or packed.ndim != 2 or scales.ndim != 2:
        return False
    columns = packed.shape[1] * 8 // bits
    whole = packed.shape[1] % _chunk(bits)[1] == 0 and columns % max(scales.shape[1], 1) == 0
    return whole and len(packed) == len(scales) and scales.is_floating_point()
