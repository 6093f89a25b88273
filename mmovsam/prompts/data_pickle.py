"""Reading pickles as data: a pickle is a program, and nothing of it is run that could do harm."""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from os import PathLike
from typing import Any

import numpy as np
import torch

_multiarray = (getattr(np, '_core', None) or np.core).multiarray


class Record:
    """What stands for an object of MMEngine: its attributes and nothing else."""


# Each of these makes a value of its arguments and has no other effect. Functions of other modules
# are wrapped: a pickle may set attributes of what it names, and must not reach theirs.


def _encode(text: str, encoding: str) -> bytes:
    return str(text).encode(str(encoding))


def _bytes(data: Any = b'') -> bytes:
    return bytes(data) if isinstance(data, (bytes, bytearray, list)) else b''


def _set(items: Any = ()) -> set:
    return set(items)


def _array(kind: type, shape: tuple, dtype: bytes) -> np.ndarray:
    return _multiarray._reconstruct(np.ndarray, shape, dtype)


def _array_of_buffer(buffer: Any, dtype: np.dtype, shape: tuple, order: str) -> np.ndarray:
    return np.frombuffer(buffer, dtype=dtype).reshape(shape, order=order)


def _number(dtype: np.dtype, *data: Any) -> Any:
    return _multiarray.scalar(dtype, *data)


def _size(sides: Any) -> tuple:
    return tuple(sides)


def _storage(data: bytes) -> Any:
    return torch.load(io.BytesIO(data), map_location='cpu', weights_only=True)


def _tensor(storage: Any, offset: int, size: tuple, stride: tuple, *_: Any) -> torch.Tensor:
    return torch._utils._rebuild_tensor(storage, offset, size, stride)


_ALLOWED = {
    'collections.OrderedDict': OrderedDict,
    '_codecs.encode': _encode,
    'builtins.bytes': _bytes,
    '__builtin__.bytes': _bytes,
    'builtins.set': _set,
    '__builtin__.set': _set,
    'numpy.ndarray': np.ndarray,
    'numpy.dtype': np.dtype,
    'torch.Size': _size,
    'torch.storage._load_from_bytes': _storage,
    'torch._utils._rebuild_tensor_v2': _tensor,
}
for _package in ('numpy.core', 'numpy._core'):  # the name of numpy 1 and of numpy 2
    _ALLOWED[f'{_package}.multiarray._reconstruct'] = _array
    _ALLOWED[f'{_package}.multiarray.scalar'] = _number
    _ALLOWED[f'{_package}.numeric._frombuffer'] = _array_of_buffer

_RECORDS = ('mmengine.structures.instance_data.InstanceData',)


class _Unpickler(pickle.Unpickler):
    """Resolves names of a fixed list and no others."""

    def find_class(self, module: str, name: str) -> Any:
        path = f'{module}.{name}'
        if path in _RECORDS:
            return type('Record', (Record,), {})  # one of its own: a pickle may change it
        if path in _ALLOWED:
            return _ALLOWED[path]
        raise _Refused(path)


class _Refused(Exception):
    pass


def load_data_pickle(path: str | PathLike) -> Any:
    """What a pickle of tensors, arrays, numbers, text and containers of them holds.

    Whatever else a pickle names is refused before anything is called. MMEngine's `InstanceData`
    comes back as a `Record`, tensors of any device on the CPU.

    Args:
        path: A `.pkl` file, such as `tools/test.py --out` writes.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is broken or names anything else.
    """
    with open(path, 'rb') as file:
        try:
            return _Unpickler(file).load()
        except _Refused as error:
            raise ValueError(
                f'{path} asks for {error}, which is neither a tensor, an array nor a container of '
                'them. It was refused and nothing of it was run. Write the results as JSON instead '
                '(CocoMetric with outfile_prefix)'
            ) from None
        except Exception as error:  # a broken pickle raises whatever its bytes lead to
            raise ValueError(
                f'{path} is no readable pickle ({type(error).__name__}: {str(error)[:200]}). It is '
                'broken or was not written completely: write it again'
            ) from error
