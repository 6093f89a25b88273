"""A device that is not there: what a GPU would refuse, wait for and compute, told without one.

Tensors on `meta` stand for those on the device. They have shapes and no values.
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
"""What no neighbour is fused with: products above all."""
ALLOCATIONS = (aten.empty, aten.empty_like, aten.empty_strided, aten.new_empty)


@dataclass
class DeviceWork:
    """What a block asked of the device."""

    waits: list[str] = field(default_factory=list)
    """Where the host would wait for the device, as `file:function`, in order."""
    kernels: list[tuple[str, str]] = field(default_factory=list)
    """Operations that would be launched, and from where, likewise."""

    @property
    def num_fused(self) -> int:
        """About how many kernels stay where a compiler makes one of neighbours."""
        alone = [name.removeprefix('aten::') in ALONE for name, _ in self.kernels]
        return sum(alone) + sum(not each for each, _ in groupby(alone))

    def wait(self) -> None:
        """Note that the host waits here."""
        self.waits.append(_place())

    def launch(self, name: str) -> None:
        """Note that an operation is launched here."""
        self.kernels.append((name, _place()))


def _place() -> str:
    """Which function outside of PyTorch asks, as `file:function`."""
    frame = sys._getframe(1)
    while frame:
        file = _outside(frame.f_code.co_filename)
        if file:
            return f'{file}:{frame.f_code.co_name}'
        frame = frame.f_back
    return ''


@lru_cache
def _outside(file: str) -> str | None:
    """The name of a file that is neither this one nor PyTorch's."""
    path = Path(file)
    ours = path == Path(__file__) or {'torch', 'unittest'} & {*path.parts, path.stem}
    return None if ours else path.name


@contextlib.contextmanager
def other_device() -> Iterator[DeviceWork]:
    """Watch a block whose tensors on `meta` are those of a device.

    Values that the host reads are 0, but tensors of booleans are true, and all rows are found by
    `nonzero` and boolean indices. What else depends on values, such as `unique`, has no result on
    `meta` and raises an error.

    Raises:
        RuntimeError: An operation mixes the device's tensors with the host's, or draws on one by a
            generator of the other.
    """
    work = DeviceWork()
    with stand_ins(work), _Functions(work), _Operations(work):
        yield work


@contextlib.contextmanager
def stand_ins(work: DeviceWork | None = None) -> Iterator[None]:
    """Give `meta` what it lacks: autocast, which does nothing, and a RoIAlign, which counts."""
    autocast = torch.autocast

    def autocast_elsewhere(device_type, *args, **kwargs):
        if device_type == 'meta':
            return contextlib.nullcontext()
        return autocast(device_type, *args, **kwargs)

    def roi_align(features, rois, output_size, *_, **__):
        """The shape, and what it depends on."""
        _require_one_device('roi_align', (features, rois))
        with _disable_current_modes() if work else contextlib.nullcontext():
            regions = features.mean((0, 2, 3))[:, None, None] + rois.sum()
        if work:
            work.launch('roi_align')
        return regions.expand(len(rois), -1, *output_size)

    with (
        mock.patch('torch.autocast', autocast_elsewhere),
        mock.patch('torch.Generator', _Generator),
        mock.patch.object(torchvision.ops, 'roi_align', roi_align),
    ):
        yield


class _Generator(torch.Generator):
    """One that knows whether it draws on the device."""

    def __new__(cls, device: str | torch.device = 'cpu') -> _Generator:
        made = super().__new__(cls)
        made.draws_on = torch.device(device)
        return made

    def manual_seed(self, seed: int) -> _Generator:
        super().manual_seed(seed)
        return self


class _Functions(TorchFunctionMode):
    """Tensors that are made on the device out of Python's numbers, and fused attention."""

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
            drawn = next(leaf for leaf in tree_leaves((result, args)) if isinstance(leaf, Tensor))
            if drawn.is_meta != (getattr(generator, 'draws_on', drawn.device).type == 'meta'):
                raise RuntimeError(f'{func.__name__} draws by a generator of another device')
        if func in FROM_DATA and result.is_meta:
            data = args[1] if func is Tensor.new_tensor else args[0]
            if not isinstance(data, Tensor):
                self.work.wait()
        if func in INDEXED and args[0].is_meta:
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            if any(isinstance(part, list) for part in index):
                self.work.wait()
        return result


class _Operations(TorchDispatchMode):
    """Reads, copies that are waited for, indices that have to be copied first, and kernels."""

    def __init__(self, work: DeviceWork) -> None:
        super().__init__()
        self.work = work

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if torch.is_inference_mode_enabled():  # where operations come in one piece
            with self:
                parted = func.decompose(*args, **kwargs)
            if parted is not NotImplemented:
                return parted
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        packet = func.overloadpacket
        if packet in COPIES:
            return self._copy(func, args, kwargs)
        if not any(tensor.is_meta for tensor in tensors):
            result = func(*args, **kwargs)
            made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
            if packet not in ALLOCATIONS and any(tensor.is_meta for tensor in made):
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
        """Between host and device the values get lost."""
        source = args[1] if func.overloadpacket is aten.copy_ else args[0]
        if func.overloadpacket is aten.copy_:
            there, waits = args[0].is_meta, len(args) < 3 or not args[2]
        else:
            device = torch.device(kwargs.get('device') or source.device)
            there, waits = device.type == 'meta', not kwargs.get('non_blocking')
        if source.is_meta and there:
            self.work.launch(func.overloadpacket._qualified_op_name)
        elif source.is_meta:
            self.work.wait()  # also without blocking: before its values are read
            value = int(source.dtype == torch.bool)
            if func.overloadpacket is aten.copy_:
                return args[0].fill_(value)
            dtype = kwargs.get('dtype') or source.dtype
            return torch.full(source.shape, value, dtype=dtype, device=device)
        elif there and waits:
            self.work.wait()
        return func(*args, **kwargs)

    def _indices(self, indexed: Tensor, indices: list) -> list:
        """Indices without booleans on the device, whose number the host waits for."""
        found = []
        for index in indices:
            if index is not None and index.is_meta and not indexed.is_meta:
                raise RuntimeError('a tensor of the host is indexed by one of the device')
            if index is not None and index.is_meta and index.dtype == torch.bool:
                self.work.wait()
                rows = torch.empty(index.numel(), dtype=torch.long, device='meta')
                found += [rows] * index.ndim
                continue
            if index is not None and indexed.is_meta and not index.is_meta:
                self.work.wait()
            found.append(index)
        return found


def _require_one_device(name: str, leaves) -> None:
    """Raise an error as CUDA's operations do; a scalar of the host may be mixed with others."""
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    if any(t.is_meta for t in tensors) and any(not t.is_meta and t.ndim for t in tensors):
        where = ', '.join(f'{tuple(t.shape)} on {t.device}' for t in tensors)
        raise RuntimeError(f'{name} mixes devices: {where}')
