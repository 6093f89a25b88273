"""From the host to a device, without waiting for it."""

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device | str) -> Tensor:
    """A tensor on a device; one that comes from the host joins the queue of the device's work.

    Args:
        tensor: Of any shape, on any device; on the host it must not be changed afterwards.
        device: Where it is wanted.
    """
    from_host = tensor.device.type == 'cpu'
    if from_host and torch.device(device).type == 'cuda':
        tensor = tensor.pin_memory()  # out of other memory it would wait for its turn
    return tensor.to(device, non_blocking=from_host)
