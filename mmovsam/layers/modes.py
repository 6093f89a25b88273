"""How a layer is being run."""

import torch
from torch import Tensor

# In a graph that is exported sizes stay unknown: `len(x)` would fix one, `x.shape[0]` does not.
is_exporting = getattr(torch.compiler, 'is_exporting', lambda: False)  # younger than torch 2.4


def in_parts(tensor: Tensor) -> bool:
    """Whether to work on as much at a time as fits a cache: in inference on a CPU.

    A loop would fix sizes in an exported graph.
    """
    return tensor.device.type == 'cpu' and not torch.is_grad_enabled() and not is_exporting()
