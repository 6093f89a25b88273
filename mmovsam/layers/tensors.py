"""Functions of tensors: precision, transfer to a device, chunking, sampling of masks."""

from collections.abc import Sequence

import torch
from torch import Tensor

# In a graph that is exported sizes stay unknown: `len(x)` would fix one, `x.shape[0]` does not.
is_exporting = getattr(torch.compiler, 'is_exporting', lambda: False)  # newer than torch 2.4


def in_parts(tensor: Tensor) -> bool:
    """Whether to loop over chunks that fit a CPU's cache: in inference on a CPU.

    In an exported graph a loop would fix sizes.
    """
    return tensor.device.type == 'cpu' and not torch.is_grad_enabled() and not is_exporting()


def at_least_float32(tensor: Tensor) -> Tensor:
    """Convert half precision to float32; other tensors stay."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def joined(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """`torch.cat`, without a copy of a single tensor."""
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors, dim)


def merge_groups(
    outputs: Sequence[Sequence[Tensor | None]], rows: Sequence[Tensor], device: torch.device
) -> tuple[Tensor | None, ...]:
    """Join the outputs of groups of rows, in the order of the rows.

    Args:
        outputs: Of each group, tensors `(n, ...)`, or None alike in all.
        rows: Their indices on the host, in the order of the outputs, ascending within a tensor.
        device: Of the outputs.
    """
    if len(rows) == 1:
        return tuple(outputs[0])
    order = to_device(torch.cat(list(rows)).argsort(), device)
    return tuple(None if t[0] is None else joined(t)[order] for t in zip(*outputs))


def of_each(tensor: Tensor, count: int) -> Tensor:
    """Repeat each row: `(N, ...)` to `(N * count, ...)`, of any N in an exported graph too."""
    return tensor[:, None].expand(-1, count, *tensor.shape[1:]).flatten(0, 1)


def without_autocast(tensor: Tensor) -> torch.autocast:
    """A context without autocast on the device of `tensor`."""
    return torch.autocast(tensor.device.type, enabled=False)


SMALL = 2**16
"""Bytes that CUDA copies from pageable memory without waiting."""


def to_device(tensor: Tensor, device: torch.device | str) -> Tensor:
    """Move a tensor to a device, without waiting.

    A tensor of the host must not be changed afterwards.
    """
    from_host = tensor.device.type == 'cpu'
    if from_host and torch.device(device).type == 'cuda' and tensor.nbytes > SMALL:
        tensor = tensor.pin_memory()  # a copy from pageable memory would wait
    return tensor.to(device, non_blocking=from_host)


def sample_masks(masks: Tensor, points: Tensor) -> Tensor:
    """Bilinear values `(N, P)` of masks at points: `mmcv.ops.point_sample` without float masks.

    Args:
        masks: `(N, H, W)` bool or uint8, 1 inside.
        points: `(N, P, 2)` xy from 0 to 1; beyond the mask values are 0.
    """
    height, width = masks.shape[1:]
    pixels = torch.stack((points[..., 0] * width, points[..., 1] * height), dim=-1) - 0.5
    first = pixels.floor()
    share = pixels - first
    flat = masks.flatten(1)
    values = torch.zeros_like(points[..., 0])
    for right in (0, 1):
        for below in (0, 1):
            x, y = first[..., 0].long() + right, first[..., 1].long() + below
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            index = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
            weight_x = share[..., 0] if right else 1 - share[..., 0]
            weight_y = share[..., 1] if below else 1 - share[..., 1]
            values += flat.gather(1, index) * inside * weight_x * weight_y
    return values
