"""Compatibility with the installed torchvision."""

import contextlib
import importlib.util
from pathlib import Path

import torch

_torchvision_library = None  # a reference, without which torch drops the definitions


def fix_torchvision() -> bool:
    """Define torchvision's operator schemas if its operators do not load; returns whether it did.

    With a CPU build of torch and a CUDA build of torchvision, `import torchvision` fails with
    `operator torchvision::nms does not exist`. With the two schemas that it needs, all of
    torchvision works but its operators. It must run before anything imports torchvision.
    """
    global _torchvision_library
    spec = importlib.util.find_spec('torchvision')
    if spec is None or spec.origin is None or hasattr(torch.ops.torchvision, 'nms'):
        return False
    for library in sorted(Path(spec.origin).parent.glob('_C*')):
        with contextlib.suppress(OSError, ImportError):
            torch.ops.load_library(str(library))
    if hasattr(torch.ops.torchvision, 'nms'):
        return False
    _torchvision_library = torch.library.Library('torchvision', 'DEF')
    for name in ('nms', 'qnms'):
        _torchvision_library.define(
            f'{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor'
        )
    return True
