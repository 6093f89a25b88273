"""What the installed OpenMMLab packages need on a current PyTorch.

`mend` runs when `mmovsam` is imported, before anything imports torchvision. Each repair
looks for its fault first and changes nothing where there is none.
"""

import contextlib
import functools
import importlib.util
import os
import threading
from pathlib import Path

import numpy as np
import torch

_FORCE_SWITCH = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'
_REFUSE_SWITCH = 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'
_switch_lock = threading.RLock()
_torchvision_library = None  # torch drops the definitions with the last reference to their library


def mend() -> None:
    """Apply every repair; calling it again does nothing."""
    mend_torchvision()
    allow_mmengine_state()
    guard_mmengine_loaders()


def mend_torchvision() -> bool:
    """Define torchvision's operator schemas where torchvision's own do not load.

    A CPU build of torch beside a CUDA build of torchvision cannot load torchvision's operators,
    and then `import torchvision` fails with `operator torchvision::nms does not exist`. With
    the two schemas that torchvision's import asks for, everything in it but its own operators
    works.

    Returns:
        bool: True if the schemas had to be defined.
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


def allow_mmengine_state() -> None:
    """Let `torch.load(..., weights_only=True)` read what MMEngine's Runner saves.

    Beside tensors a Runner saves its message hub: `HistoryBuffer` objects, numpy arrays and
    numbers. A `HistoryBuffer` refers to its statistics through `getattr`, which could reach
    anything; what is allowed under that name is a stand-in that resolves the four statistics of
    `HistoryBuffer` and nothing else.
    """
    from mmengine.logging import HistoryBuffer

    multiarray = getattr(np, '_core', None) or np.core
    multiarray = multiarray.multiarray

    def statistic_of(owner, name):
        if owner is not HistoryBuffer or name not in ('min', 'max', 'current', 'mean'):
            raise ValueError(f'a checkpoint may not refer to the attribute {name!r} of {owner!r}')
        return getattr(owner, name)

    numbers = (np.bool_, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32)
    numbers += (np.uint64, np.float16, np.float32, np.float64)
    allowed = [HistoryBuffer, np.ndarray, np.dtype]
    allowed += sorted({type(np.dtype(number)) for number in numbers}, key=str)
    allowed.append(_under_name(statistic_of, 'builtins.getattr'))
    for package in ('numpy.core', 'numpy._core'):  # the name of numpy 1 and of numpy 2
        for function in (multiarray._reconstruct, multiarray.scalar):
            name = f'{package}.multiarray.{function.__name__}'
            allowed.append(_under_name(function, name))
    torch.serialization.add_safe_globals(allowed)


def guard_mmengine_loaders() -> None:
    """Make every checkpoint loader of MMEngine read weights only, whatever its default is.

    MMEngine leaves `weights_only` to torch, which before 2.6 means unsafe loading, downloads
    with `weights_only` switched off, and the maintained fork falls back to unsafe loading when
    the safe one fails. torch has a switch that overrules all of these; each loader runs under it.
    """
    from mmengine.runner import CheckpointLoader

    for prefix, loader in list(CheckpointLoader._schemes.items()):
        if not getattr(loader, 'weights_only', False):
            CheckpointLoader.register_scheme(prefix, _guarded(loader), force=True)


@contextlib.contextmanager
def forced_weights_only():
    """Overrule, inside the block, any request for anything but weights in `torch.load`."""
    with _switch_lock:
        before = {name: os.environ.get(name) for name in (_FORCE_SWITCH, _REFUSE_SWITCH)}
        os.environ[_FORCE_SWITCH] = '1'
        os.environ.pop(_REFUSE_SWITCH, None)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def _guarded(loader):
    @functools.wraps(loader)
    def load(*args, **kwargs):
        with forced_weights_only():
            return loader(*args, **kwargs)

    load.weights_only = True
    return load


def _under_name(function, path: str):
    """A function that a checkpoint finds under `path` (torch allows globals by their name)."""

    def stand_in(*args):
        return function(*args)

    stand_in.__module__, stand_in.__qualname__ = path.rsplit('.', 1)
    stand_in.__name__ = stand_in.__qualname__
    return stand_in
