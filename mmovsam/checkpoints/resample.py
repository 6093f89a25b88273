"""SAM's position embeddings at another image size."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from ..layers import resample_abs_pos, resample_rel_pos

_TABLE = re.compile(r'(?P<encoder>.*)blocks\.\d+\.attn\.rel_pos_(?P<axis>[hw])')


def resample_positions(
    tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Tensor]:
    """Fit the positions of SAM's image encoder, or of the SAM2CLIP neck, to another image size.

    The absolute embedding `(1, H, W, C)`, `{prefix}pos_embed`, is resampled bicubically without
    corner alignment, and the relative tables `(2 * H - 1, c)`, `{prefix}blocks.{i}.attn.rel_pos_h`
    and `..._w`, of the blocks that attend globally linearly, as SAM and ViTDet do. Tables of
    windows do not depend on the image size: one of another window is left as it is.

    Returns:
        The tensors that have another size now.
    """
    resampled = {}
    for name, tensor in tensors.items():
        wanted = tuple(shapes[name])
        same_kind = tensor.ndim == len(wanted) and tensor.shape[-1:] == wanted[-1:]
        if tuple(tensor.shape) == wanted or not same_kind:
            continue
        table = _TABLE.fullmatch(name)
        if table:
            position = f'{table["encoder"]}pos_embed'
            dim = {'h': 1, 'w': 2}[table['axis']]
            if position in tensors and tensors[position].ndim == 4:
                side, new_side = tensors[position].shape[dim], shapes[position][dim]
                if (len(tensor), wanted[0]) == (2 * side - 1, 2 * new_side - 1):
                    resampled[name] = resample_rel_pos(tensor, new_side)
        elif name.split('.')[-1] == 'pos_embed' and tensor.ndim == 4:
            resampled[name] = resample_abs_pos(tensor, wanted[1:3])
    return resampled
