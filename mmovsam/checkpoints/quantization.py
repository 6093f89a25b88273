"""Quantized weights in files: int8 with a scale for each row, or fewer bits packed into bytes."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

SCALES = '.scales'
MIN_SIZE = 4096  # values; smaller tensors, and those of one dimension, become float16
_BITS = range(2, 9)
_CLIPPING = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75)  # candidate ranges, as a share of the largest value


def to_int8(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Quantize large tensors to int8 with a scale for each row; others become half precision.

    An int8 tensor `name` has its shape, and its scales are `name.scales`.
    """
    quantized = {}
    for name, tensor in state_dict.items():
        if not tensor.is_floating_point():
            quantized[name] = tensor
        elif tensor.ndim < 2 or tensor.numel() < MIN_SIZE:
            quantized[name] = tensor.half()
        else:
            rows = tensor.detach().float().flatten(1)
            scales = rows.abs().amax(1).clamp(min=1e-8) / 127
            codes = (rows / scales[:, None]).round().to(torch.int8)
            quantized[name] = codes.reshape(tensor.shape)
            quantized[name + SCALES] = scales
    return quantized


def from_int8(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Dequantize tensors of `to_int8` to float32; others stay as they are."""
    tensors = dict(state_dict)
    for name, codes in state_dict.items():
        if codes.dtype == torch.int8 and name + SCALES in state_dict:
            scales = tensors.pop(name + SCALES).float()
            tensors[name] = codes.float() * scales.reshape(-1, *[1] * (codes.ndim - 1))
    return tensors


def quantize(weight: Tensor, bits: int, group: int | None = None) -> tuple[Tensor, Tensor]:
    """Round a matrix (R, C) to signed integers of 2 to 8 bits; C / group groups a row share scales.

    Returns:
        Codes `(R, C)` int8 and scales `(R, C / group)` float16, for `dequantize`. Each group has
        the scale of the smallest squared error among several.
    """
    rows, columns = weight.shape
    group = columns if group is None else group
    if bits not in _BITS or columns % group:
        raise ValueError(f'cannot round {columns} columns to {bits} bits in groups of {group}')
    values = weight.float().reshape(rows, columns // group, group)
    max_code = 2 ** (bits - 1) - 1
    max_scale = values.abs().amax(-1, keepdim=True) / max_code
    best_codes, best_scale = values, max_scale.half()
    best_error = torch.full_like(max_scale, torch.inf)
    for clipping in _CLIPPING if bits < 8 else (1.0,):
        scale = (max_scale * clipping).half().clamp_min(torch.finfo(torch.float16).tiny)
        codes = (values / scale.float()).round().clamp(-max_code - 1, max_code)
        error = (codes * scale.float() - values).square().sum(-1, keepdim=True)
        better = error < best_error
        best_codes = torch.where(better, codes, best_codes)
        best_scale = torch.where(better, scale, best_scale)
        best_error = torch.minimum(error, best_error)
    return best_codes.reshape(rows, columns).to(torch.int8), best_scale[..., 0]


def dequantize(codes: Tensor, scales: Tensor) -> Tensor:
    """The matrix `(R, C)` float32 of codes `(R, C)` and scales `(R, C / group)`."""
    groups = codes.reshape(*scales.shape, -1)
    return (groups.float() * scales.float()[..., None]).reshape(codes.shape)


def pack(codes: Tensor, bits: int) -> Tensor:
    """Integers (R, C) int8 of a few bits as `(R, C * bits / 8)` uint8, the lowest bits first."""
    num_codes, num_bytes = _word_size(bits)
    if codes.shape[1] % num_codes:
        raise ValueError(f'rows of {codes.shape[1]} numbers of {bits} bits do not fill bytes')
    values = (codes.to(torch.int64) & (1 << bits) - 1).unflatten(1, (-1, num_codes))
    words = (values << bits * torch.arange(num_codes)).sum(-1, keepdim=True)
    return (words >> 8 * torch.arange(num_bytes) & 0xFF).flatten(1).to(torch.uint8)


def unpack(packed: Tensor, bits: int) -> Tensor:
    """The integers (R, 8 N / bits) int8 of `pack`ed bytes (R, N) uint8."""
    num_codes, num_bytes = _word_size(bits)
    dtype = torch.int32 if num_bytes < 4 else torch.int64  # the smaller one is faster
    bytes_of_words = packed.unflatten(1, (-1, num_bytes))
    words = sum(bytes_of_words[..., k].to(dtype) << 8 * k for k in range(num_bytes))
    sign, mask = 1 << bits - 1, (1 << bits) - 1
    values = [((words >> bits * k & mask) ^ sign) - sign for k in range(num_codes)]
    return torch.stack(values, -1).flatten(1).to(torch.int8)


def _word_size(bits: int) -> tuple[int, int]:
    """How many integers fill how many whole bytes."""
    size = math.lcm(8, bits)
    return size // bits, size // 8


def pack_matrix(weight: Tensor, bits: int, group: int | None = None) -> dict[str, Tensor]:
    """A quantized matrix as tensors of a file: packed codes, such as `q4`, and `scales`."""
    codes, scales = quantize(weight, bits, group)
    return {f'q{bits}': pack(codes, bits), 'scales': scales}


def unpack_matrices(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a file in float32, with `name` for each `name.q4` and `name.scales`."""
    state_dict = {}
    for key, tensor in tensors.items():
        name, _, kind = key.rpartition('.')
        if kind == 'scales' and any(f'{name}.q{bits}' in tensors for bits in _BITS):
            continue
        if kind[:1] == 'q' and kind[1:].isdecimal():
            bits, scales = int(kind[1:]), tensors.get(f'{name}.scales')
            if scales is None or not _fit(tensor, scales, bits):
                raise ValueError(f'the packed matrix {name!r} is not whole')
            state_dict[name] = dequantize(unpack(tensor, bits), scales)
        else:
            state_dict[key] = tensor.float() if tensor.is_floating_point() else tensor
    return state_dict


def _fit(packed: Tensor, scales: Tensor, bits: int) -> bool:
    """Whether packed codes and scales belong together."""
    if bits not in _BITS or packed.dtype != torch.uint8 or packed.ndim != 2 or scales.ndim != 2:
        return False
    columns = packed.shape[1] * 8 // bits
    divisible = packed.shape[1] % _word_size(bits)[1] == 0
    divisible = divisible and columns % max(scales.shape[1], 1) == 0
    return divisible and len(packed) == len(scales) and scales.is_floating_point()
