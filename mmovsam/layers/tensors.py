"""Small functions of tensors: precision, transfer to a device, work in parts, samples of masks."""

from collections.abc import Sequence

import torch
from torch import Tensor

# In a graph that is exported sizes stay unknown: `len(x)` would fix one, `x.shape[0]` does not.
is_exporting = getattr(torch.compiler, 'is_exporting', lambda: False)  # younger than torch 2.4


def in_parts(tensor: Tensor) -> bool:
    """Whether to work on as much at a time as fits a cache: in inference on a CPU.

    A loop would fix sizes in an exported graph.
    """
    return tensor.device.type == 'cpu' and not torch.is_grad_enabled() and not is_exporting()


def at_least_float32(tensor: Tensor) -> Tensor:
    """A tensor of half precision in float32; others as they are."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def joined(parts: Sequence[Tensor], dim: int = 0) -> Tensor:
    """`torch.cat`, which would copy a single part."""
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim)


def of_each(part: Tensor, count: int) -> Tensor:
    """`(N, ...)` as `(N * count, ...)`, each repeated; of any N in an exported graph too."""
    return part[:, None].expand(-1, count, *part.shape[1:]).flatten(0, 1)


def without_autocast(tensor: Tensor) -> torch.autocast:
    """A context, on the device of `tensor`, in which autocast lowers no precision."""
    return torch.autocast(tensor.device.type, enabled=False)


SMALL = 2**16
"""Bytes that CUDA copies without waiting out of any memory of the host."""


def to_device(tensor: Tensor, device: torch.device | str) -> Tensor:
    """A tensor on a device; one that comes from the host joins the queue of the device's work.

    On the host it must not be changed afterwards.
    """
    from_host = tensor.device.type == 'cpu'
    if from_host and torch.device(device).type == 'cuda' and tensor.nbytes > SMALL:
        tensor = tensor.pin_memory()  # out of other memory it would wait for its turn
    return tensor.to(device, non_blocking=from_host)


def sample_masks(masks: Tensor, points: Tensor) -> Tensor:
    """Bilinear values `(N, P)` of masks, as `mmcv.ops.point_sample` gives them for float masks.

    The masks of a training image are large and the points few, so the masks stay as they are: `(N,
    H, W)` bool or uint8, 1 inside. Points are `(N, P, 2)` xy from 0 to 1; outside counts as 0.
    """
    height, width = masks.shape[1:]
    place = torch.stack((points[..., 0] * width, points[..., 1] * height), dim=-1) - 0.5
    first = place.floor()
    share = place - first
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
