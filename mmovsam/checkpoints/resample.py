"""Resampling of SAM's position embeddings to another image size."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from ..layers import resample_abs_pos, resample_rel_pos

_TABLE = re.compile(r'(?P<encoder>.*)blocks\.\d+\.attn\.rel_pos_(?P<axis>[hw])')


def resample_positions(
    tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Tensor]:
    """Resample positions of SAM's image encoder, or of the SAM2CLIP neck, to expected shapes.

    The absolute embedding `(1, H, W, C)`, `{prefix}pos_embed`, is resampled bicubically without
    corner alignment, and the relative tables `(2 * H - 1, c)`, `{prefix}blocks.{i}.attn.rel_pos_h`
    and `..._w`, of blocks with global attention linearly, as in SAM and ViTDet. Tables of windows
    do not depend on the image size and are left as they are.

    Returns:
        The resampled tensors.
    """
    resampled = {}
    for name, tensor in tensors.items():
        shape = tuple(shapes[name])
        compatible = tensor.ndim == len(shape) and tensor.shape[-1:] == shape[-1:]
        if tuple(tensor.shape) == shape or not compatible:
            continue
        match = _TABLE.fullmatch(name)
        if match:
            pos_embed = f'{match["encoder"]}pos_embed'
            dim = {'h': 1, 'w': 2}[match['axis']]
            if pos_embed in tensors and tensors[pos_embed].ndim == 4:
                size, new_size = tensors[pos_embed].shape[dim], shapes[pos_embed][dim]
                if (len(tensor), shape[0]) == (2 * size - 1, 2 * new_size - 1):
                    resampled[name] = resample_rel_pos(tensor, new_size)
        elif name.split('.')[-1] == 'pos_embed' and tensor.ndim == 4:
            resampled[name] = resample_abs_pos(tensor, shape[1:3])
    return resampled
