"""Where a host would wait for its device. Tensors on `meta` stand for the device's."""

import contextlib
import traceback
from pathlib import Path

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten
FROM_DATA = (torch.tensor, torch.as_tensor, Tensor.new_tensor)
INDEXED = (Tensor.__getitem__, Tensor.__setitem__)


@contextlib.contextmanager
def host_waits(monkeypatch):
    """List each place of a block where the host would wait for the device, as `file:function`.

    Values that the host reads are 0. What depends on values in another way, such as `nonzero`,
    `unique` and a boolean index, has no result on `meta` and raises an error.
    """
    # meta has no autocast
    monkeypatch.setattr(torch, 'autocast', lambda *_, **__: contextlib.nullcontext())
    found = []
    with _Creation(found), _Operations(found):
        yield found


class _Creation(TorchFunctionMode):
    """Tensors that are made on the device out of Python's numbers."""

    def __init__(self, found):
        super().__init__()
        self.found = found

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func in FROM_DATA and result.is_meta:
            data = args[1] if func is Tensor.new_tensor else args[0]
            if not isinstance(data, Tensor):
                self.found.append(_where())
        if func in INDEXED and args[0].is_meta:
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            if any(isinstance(part, list) for part in index):
                self.found.append(_where())
        return result


class _Operations(TorchDispatchMode):
    """Reads, copies that are waited for, and indices that have to be copied first."""

    def __init__(self, found):
        super().__init__()
        self.found = found

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is aten._local_scalar_dense.default and args[0].is_meta:
            self.found.append(_where())
            return 0.0
        if func is aten._to_copy.default and not kwargs.get('non_blocking'):
            device = kwargs.get('device')
            if device is not None and (device.type == 'meta') != args[0].is_meta:
                self.found.append(_where())
        if func is aten.copy_.default and args[0].is_meta != args[1].is_meta and len(args) < 3:
            self.found.append(_where())
        if func.overloadpacket in (aten.index, aten.index_put, aten.index_put_):
            indices = (index for index in tree_leaves(args[1]) if index is not None)
            if args[0].is_meta and not all(index.is_meta for index in indices):
                self.found.append(_where())
        return func(*args, **kwargs)


def _where():
    for frame in reversed(traceback.extract_stack()):
        path = Path(frame.filename)
        if path != Path(__file__) and 'torch' not in path.parts:
            return f'{path.name}:{frame.name}'
