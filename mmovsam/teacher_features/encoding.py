"""Embeddings as bytes: of 32 or 16 bits a value, or of 8 with a scale for each channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from ..validation import require_choice

DTYPES = {
    'float32': torch.float32,
    'float16': torch.float16,
    'bfloat16': torch.bfloat16,
    'int8': torch.int8,
}
_SCALE_BYTES = 8  # a channel's step and offset, for int8


@dataclass(frozen=True)
class EncodedEmbedding:
    """The bytes of an embedding, in one tensor for data loaders.

    Attributes:
        data: `(N,)` uint8, on any device: for int8 first step and offset of each channel in
            float32, then the values.
        dtype: One of `DTYPES`.
        shape: `(C, H, W)` of the embedding.
    """

    data: Tensor
    dtype: str
    shape: tuple[int, int, int]

    def decode(self) -> Tensor:
        """The embedding `(C, H, W)` in float32."""
        if self.dtype != 'int8':
            return self.data.view(DTYPES[self.dtype]).view(self.shape).float()
        split = _SCALE_BYTES * self.shape[0]
        step, offset = self.data[:split].view(torch.float32).view(-1, 2, 1, 1).unbind(1)
        return self.data[split:].view(torch.int8).view(self.shape) * step + offset


def encode(embedding: Tensor, dtype: str) -> EncodedEmbedding:
    """Encode an embedding `(C, H, W)` in one of `DTYPES`, int8 in 255 equal steps a channel.

    Raises:
        ValueError: The type is unknown, or a value is not finite in it.
    """
    require_choice(DTYPES, dtype=dtype)
    embedding = embedding.float()
    if dtype == 'int8':
        low, high = embedding.flatten(1).aminmax(dim=1)
        step = ((high - low) / 255).clamp_min(torch.finfo(torch.float32).tiny)
        offset = low + 128 * step
        steps = (embedding - offset[:, None, None]) / step[:, None, None]
        tensors = [torch.stack([step, offset], 1), steps.round().clamp(-128, 127).to(torch.int8)]
    else:
        tensors = [embedding.to(DTYPES[dtype])]
    if not torch.isfinite(tensors[0]).all():
        raise ValueError(
            f'An embedding has values that are not finite in {dtype}. If the teacher is in order, '
            'a type of larger range may hold them: bfloat16 or float32.'
        )
    data = torch.cat([tensor.contiguous().flatten().view(torch.uint8) for tensor in tensors])
    return EncodedEmbedding(data, dtype, tuple(embedding.shape))


def num_bytes(shape: Sequence[int], dtype: str) -> int:
    """The number of bytes of an encoded embedding `(C, H, W)`."""
    require_choice(DTYPES, dtype=dtype)
    return prod(shape) * DTYPES[dtype].itemsize + (dtype == 'int8') * _SCALE_BYTES * shape[0]
