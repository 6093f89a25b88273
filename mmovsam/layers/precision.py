"""Where sixteen bits are too few."""

import torch
from torch import Tensor


def at_least_float32(tensor: Tensor) -> Tensor:
    """A tensor of half precision in float32; others as they are."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def without_autocast(tensor: Tensor) -> torch.autocast:
    """A context, on the device of `tensor`, in which autocast lowers no precision."""
    return torch.autocast(tensor.device.type, enabled=False)
