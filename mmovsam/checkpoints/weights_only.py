"""Loading of checkpoints by MMEngine with `weights_only`, whatever its defaults are."""

import contextlib
import functools
import math
import os
import re
import threading

import numpy as np
import torch

_FORCE_SWITCH = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'
_REFUSE_SWITCH = 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'
_switch_lock = threading.RLock()


@contextlib.contextmanager
def forced_weights_only():
    """A block in which `torch.load` reads weights and MMEngine's state, and nothing else.

    Beside tensors a Runner saves its message hub: `HistoryBuffer` objects, numpy arrays and
    scalars. They are built by replacements that only copy values, never by numpy's and MMEngine's
    constructors, which take pointers or change classes.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_switch_lock)
        added = set(_SAFE_GLOBALS).difference(torch.serialization.get_safe_globals())
        stack.enter_context(torch.serialization.safe_globals(list(added)))
        environ = {name: os.environ.get(name) for name in (_FORCE_SWITCH, _REFUSE_SWITCH)}
        os.environ[_FORCE_SWITCH] = '1'
        os.environ.pop(_REFUSE_SWITCH, None)
        try:
            yield
        finally:
            for name, value in environ.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def weights_only(loader):
    """Wrap a checkpoint loader of MMEngine in `forced_weights_only`.

    MMEngine leaves `weights_only` to torch, whose default before 2.6 is unsafe, switches it off for
    downloads, and its maintained fork falls back to unsafe loading.
    """

    @functools.wraps(loader)
    def load(*args, **kwargs):
        with forced_weights_only():
            return loader(*args, **kwargs)

    load.weights_only = True
    return load


def _refuse(what):
    raise ValueError(f'a checkpoint may not refer to {what}')


class _DType:
    """A numpy dtype of numbers of 1 to 8 bytes."""

    def __init__(self, name, *_) -> None:
        if not isinstance(name, str) or not re.fullmatch('b1|[iu][1248]|f[248]', name):
            _refuse(f'numpy.dtype({name!r}); numbers of 1 to 8 bytes are read')
        self.dtype = np.dtype(name)

    def __setstate__(self, state) -> None:
        if state[1] not in ('<', '>', '|', '='):
            _refuse(f'the byte order {state[1]!r}')
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array(np.ndarray):
    """A numpy array of numbers, filled from bytes in the file."""

    def __new__(cls, *args):
        _refuse(f'numpy.ndarray{args!r:.100}')

    def __setstate__(self, state) -> None:
        _, shape, dtype, fortran, values = state
        if not isinstance(dtype, _DType) or not isinstance(values, bytes):
            _refuse(f'a numpy array of {type(dtype).__name__} in {type(values).__name__}')
        if min(shape, default=0) < 0 or math.prod(shape) * dtype.dtype.itemsize != len(values):
            _refuse(f'a numpy array of the shape {shape} in {len(values)} bytes')
        super().__setstate__((1, tuple(shape), dtype.dtype, bool(fortran), values))

    def __reduce__(self):
        return self.view(np.ndarray).__reduce__()


class _History:
    """MMEngine's `HistoryBuffer`, whose pickled statistics are ignored."""

    def __new__(cls, *args):
        if args:
            _refuse(f'HistoryBuffer{args!r:.100}')
        return super().__new__(cls)

    def __setstate__(self, state) -> None:
        from mmengine.logging import HistoryBuffer

        logs, counts = state.get('_log_history'), state.get('_count_history')
        if not all(isinstance(values, _Array) and values.ndim == 1 for values in (logs, counts)):
            _refuse('a HistoryBuffer without its two arrays')
        self.__class__ = HistoryBuffer
        self.__init__(logs, counts, max_length=int(state['max_length']))


def _array(array_class, *_) -> _Array:
    return np.empty(0).view(_Array)


def _number(dtype, values):
    if not isinstance(dtype, _DType) or len(values) != dtype.dtype.itemsize:
        _refuse(f'a numpy number of {type(dtype).__name__} in {values!r:.100}')
    return np.frombuffer(values, dtype.dtype)[0]


def _no_bytes(*args) -> bytes:
    if args:
        _refuse(f'bytes{args!r:.100}')
    return b''


def _statistic(owner, name) -> None:
    if owner is not _History or name not in ('min', 'max', 'current', 'mean'):
        _refuse(f'the attribute {name!r} of {owner!r}')


_SAFE_GLOBALS = [
    (_History, 'mmengine.logging.history_buffer.HistoryBuffer'),
    (_statistic, 'builtins.getattr'),
    (_no_bytes, 'builtins.bytes'),
    (_Array, 'numpy.ndarray'),
    (_DType, 'numpy.dtype'),
    *(
        (replacement, f'{package}.multiarray.{name}')
        for package in ('numpy.core', 'numpy._core')  # of numpy 1 and numpy 2
        for replacement, name in ((_array, '_reconstruct'), (_number, 'scalar'))
    ),
]
