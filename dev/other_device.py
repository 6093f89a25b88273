"""A simulated GPU: device mismatches, synchronizations and kernel launches, counted without one.

Tensors on `meta`, with shapes and no values, stand for those on the device.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from unittest import mock

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten
FROM_DATA = (torch.tensor, torch.as_tensor, Tensor.new_tensor)
INDEXED = (Tensor.__getitem__, Tensor.__setitem__)
INDEXING = (aten.index, aten.index_put, aten.index_put_)
COPIES = (aten._to_copy, aten.copy_)
ALONE = ('mm', 'bmm', 'addmm', 'baddbmm', 'convolution', 'attention', 'roi_align', 'topk')
"""Operations that are not fused with others, such as products."""
ALLOCATIONS = (aten.empty, aten.empty_like, aten.empty_strided, aten.new_empty)


@dataclass
class DeviceWork:
    """The work of a block for the device."""

    waits: list[str] = field(default_factory=list)
    """Where the host would wait for the device, as `file:function`, in order."""
    kernels: list[tuple[str, str]] = field(default_factory=list)
    """Operations that would be launched, and where."""

    @property
    def num_fused(self) -> int:
        """An estimate of the number of kernels after fusion."""
        alone = [name.removeprefix('aten::') in ALONE for name, _ in self.kernels]
        return sum(alone) + sum(not is_alone for is_alone, _ in groupby(alone))

    def wait(self) -> None:
        """Record that the host waits here."""
        self.waits.append(_caller())

    def launch(self, name: str) -> None:
        """Record that an operation is launched here."""
        self.kernels.append((name, _caller()))


def _caller() -> str:
    """The calling function outside of PyTorch and this file, as `file:function`."""
    frame = sys._getframe(1)
    while frame:
        file = _outside_name(frame.f_code.co_filename)
        if file:
            return f'{file}:{frame.f_code.co_name}'
        frame = frame.f_back
    return ''


@lru_cache
def _outside_name(file: str) -> str | None:
    """The name of a file that is neither this one nor PyTorch's."""
    path = Path(file)
    inside = path == Path(__file__) or {'torch', 'unittest'} & {*path.parts, path.stem}
    return None if inside else path.name


@contextlib.contextmanager
def other_device() -> Iterator[DeviceWork]:
    """Record the work of a block whose tensors on `meta` are those of a device.

    Values that the host reads are 0, or true for booleans; `nonzero` and boolean indices select all
    rows. Other operations whose shapes depend on values, such as `unique`, raise an error.

    Raises:
        RuntimeError: An operation mixes tensors of device and host, or uses a generator of the
            other one.
    """
    work = DeviceWork()
    with stand_ins(work), _Functions(work), _Operations(work):
        yield work


@contextlib.contextmanager
def stand_ins(work: DeviceWork | None = None) -> Iterator[None]:
    """Give `meta` an autocast, which does nothing, and a RoIAlign, which is recorded."""
    autocast = torch.autocast

    def meta_autocast(device_type, *args, **kwargs):
        if device_type == 'meta':
            return contextlib.nullcontext()
        return autocast(device_type, *args, **kwargs)

    def roi_align(features, rois, output_size, *_, **__):
        """The shape and the dependencies of the result."""
        _require_one_device('roi_align', (features, rois))
        with _disable_current_modes() if work else contextlib.nullcontext():
            regions = features.mean((0, 2, 3))[:, None, None] + rois.sum()
        if work:
            work.launch('roi_align')
        return regions.expand(len(rois), -1, *output_size)

    with (
        mock.patch('torch.autocast', meta_autocast),
        mock.patch('torch.Generator', _Generator),
        mock.patch.object(torchvision.ops, 'roi_align', roi_align),
    ):
        yield


class _Generator(torch.Generator):
    """A generator that knows its device."""

    def __new__(cls, device: str | torch.device = 'cpu') -> _Generator:
        generator = super().__new__(cls)
        generator.draws_on = torch.device(device)
        return generator

    def manual_seed(self, seed: int) -> _Generator:
        super().manual_seed(seed)
        return self


class _Functions(TorchFunctionMode):
    """Records tensors from Python numbers, list indices and fused attention."""

    def __init__(self, work: DeviceWork) -> None:
        super().__init__()
        self.work = work

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention and not torch.is_grad_enabled():
            query, _, value = args[:3]
            if query.is_meta:
                _require_one_device('attention', tree_leaves((args, kwargs)))
                self.work.launch('attention')
                shape = *query.shape[:-3], query.shape[-2], query.shape[-3], value.shape[-1]
                return query.new_empty(shape).transpose(-3, -2)  # heads side by side, as fused
        result = func(*args, **kwargs)
        generator = kwargs.get('generator')
        if generator is not None:
            tensor = next(leaf for leaf in tree_leaves((result, args)) if isinstance(leaf, Tensor))
            if tensor.is_meta != (getattr(generator, 'draws_on', tensor.device).type == 'meta'):
                raise RuntimeError(f'{func.__name__} draws by a generator of another device')
        if func in FROM_DATA and result.is_meta:
            data = args[1] if func is Tensor.new_tensor else args[0]
            if not isinstance(data, Tensor):
                self.work.wait()
        if func in INDEXED and args[0].is_meta:
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            if any(isinstance(value, list) for value in index):
                self.work.wait()
        return result


class _Operations(TorchDispatchMode):
    """Records reads, synchronous copies, indices from the host, and kernels."""

    def __init__(self, work: DeviceWork) -> None:
        super().__init__()
        self.work = work

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if torch.is_inference_mode_enabled():  # operations are not decomposed yet
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        packet = func.overloadpacket
        if packet in COPIES:
            return self._copy(func, args, kwargs)
        if not any(tensor.is_meta for tensor in tensors):
            result = func(*args, **kwargs)
            outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
            if packet not in ALLOCATIONS and any(tensor.is_meta for tensor in outputs):
                self.work.launch(packet._qualified_op_name)
            return result
        if packet is aten._local_scalar_dense:
            self.work.wait()
            return 0.0
        if packet is aten.nonzero:
            self.work.wait()
            self.work.launch('aten::nonzero')
            return torch.empty(args[0].numel(), args[0].ndim, dtype=torch.long, device='meta')
        if packet in INDEXING:
            args = (args[0], self._indices(*args[:2]), *args[2:])
        else:
            _require_one_device(packet._qualified_op_name, tensors)
        if not func.is_view and packet not in ALLOCATIONS and packet is not aten._unsafe_view:
            self.work.launch(packet._qualified_op_name)
        return func(*args, **kwargs)

    def _copy(self, func, args, kwargs):
        """Copy without values between host and device."""
        source = args[1] if func.overloadpacket is aten.copy_ else args[0]
        if func.overloadpacket is aten.copy_:
            to_meta, waits = args[0].is_meta, len(args) < 3 or not args[2]
        else:
            device = torch.device(kwargs.get('device') or source.device)
            to_meta, waits = device.type == 'meta', not kwargs.get('non_blocking')
        if source.is_meta and to_meta:
            self.work.launch(func.overloadpacket._qualified_op_name)
        elif source.is_meta:
            self.work.wait()  # also with non_blocking, before the values are read
            value = int(source.dtype == torch.bool)
            if func.overloadpacket is aten.copy_:
                return args[0].fill_(value)
            dtype = kwargs.get('dtype') or source.dtype
            return torch.full(source.shape, value, dtype=dtype, device=device)
        elif to_meta and waits:
            self.work.wait()
        return func(*args, **kwargs)

    def _indices(self, indexed: Tensor, indices: list) -> list:
        """Replace boolean indices on the device, whose number the host waits for."""
        result = []
        for index in indices:
            if index is not None and index.is_meta and not indexed.is_meta:
                raise RuntimeError('a tensor of the host is indexed by one of the device')
            if index is not None and index.is_meta and index.dtype == torch.bool:
                self.work.wait()
                rows = torch.empty(index.numel(), dtype=torch.long, device='meta')
                result += [rows] * index.ndim
                continue
            if index is not None and indexed.is_meta and not index.is_meta:
                self.work.wait()
            result.append(index)
        return result


def _require_one_device(name: str, leaves) -> None:
    """Raise an error as CUDA's operations do; only scalars of the host may be mixed in."""
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    if any(t.is_meta for t in tensors) and any(not t.is_meta and t.ndim for t in tensors):
        where = ', '.join(f'{tuple(t.shape)} on {t.device}' for t in tensors)
        raise RuntimeError(f'{name} mixes devices: {where}')
