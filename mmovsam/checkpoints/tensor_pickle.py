"""A reader of pickled tensors that runs no code.

It interprets the few instructions that state dicts need and refuses all others; nothing that a
pickle names is imported or called.
"""

from __future__ import annotations

import pickletools
from typing import NamedTuple

import torch

_DTYPES = {
    'torch DoubleStorage': torch.float64,
    'torch FloatStorage': torch.float32,
    'torch HalfStorage': torch.float16,
    'torch BFloat16Storage': torch.bfloat16,
    'torch LongStorage': torch.int64,
    'torch IntStorage': torch.int32,
    'torch ShortStorage': torch.int16,
    'torch CharStorage': torch.int8,
    'torch ByteStorage': torch.uint8,
    'torch BoolStorage': torch.bool,
}
_CONSTANTS = {'NONE': None, 'NEWTRUE': True, 'NEWFALSE': False, 'EMPTY_TUPLE': ()}
_VALUES = ('BININT', 'BININT1', 'BININT2', 'LONG1', 'BINFLOAT', 'BINUNICODE', 'GLOBAL')


class Module(dict):
    """The attributes of a module."""


class TensorRecord(NamedTuple):
    """A tensor's record in its archive, and its offset, size and stride there in values."""

    record: str
    dtype: torch.dtype
    offset: int
    size: tuple
    stride: tuple


def read_pickle(pickled: bytes):
    """The content of a pickle of `torch.save` or TorchScript, with a `TensorRecord` a tensor.

    Raises:
        ValueError: There is an instruction that tensors do not need.
    """
    stack, memo, marks = [], {}, []

    def pop_to_mark() -> list:
        start = marks.pop()
        items = stack[start:]
        del stack[start:]
        return items

    for opcode, value, _ in pickletools.genops(pickled):
        name = opcode.name
        if name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _VALUES:
            stack.append(value)
        elif name == 'MARK':
            marks.append(len(stack))
        elif name in ('BINPUT', 'LONG_BINPUT'):
            memo[value] = stack[-1]
        elif name in ('BINGET', 'LONG_BINGET'):
            stack.append(memo[value])
        elif name == 'EMPTY_LIST':
            stack.append([])
        elif name == 'EMPTY_DICT':
            stack.append({})
        elif name == 'TUPLE':
            stack.append(tuple(pop_to_mark()))
        elif name in ('TUPLE1', 'TUPLE2', 'TUPLE3'):
            stack[-int(name[-1]) :] = [tuple(stack[-int(name[-1]) :])]
        elif name == 'APPEND':
            item = stack.pop()
            stack[-1].append(item)
        elif name == 'APPENDS':
            items = pop_to_mark()
            stack[-1].extend(items)
        elif name == 'SETITEM':
            value = stack.pop()
            key = stack.pop()
            stack[-1][key] = value
        elif name == 'SETITEMS':
            items = pop_to_mark()
            stack[-1].update(zip(items[::2], items[1::2]))
        elif name == 'NEWOBJ':
            stack[-2:] = [Module()]  # in place of class and arguments
        elif name == 'BUILD':
            state = stack.pop()
            if isinstance(state, dict) and isinstance(stack[-1], Module):
                stack[-1].update(state)
        elif name == 'BINPERSID':
            _, kind, record, _, _ = stack.pop()  # 'storage', type, record, device, size
            stack.append((record, _DTYPES[kind]))
        elif name == 'REDUCE':
            arguments = stack.pop()
            stack.append(_call(stack.pop(), arguments))
        elif name == 'STOP':
            return stack.pop()
        elif name != 'PROTO':
            raise ValueError(f'the instruction {name} is not expected')
    raise ValueError('the list of modules has no end')


def _call(function: str, arguments: tuple):
    """The result of a call that builds a tensor or dictionary; None for any other call."""
    if function == 'torch._utils _rebuild_tensor_v2':
        return TensorRecord(*arguments[0], *arguments[1:4])
    if function == 'torch._utils _rebuild_parameter':
        return arguments[0]
    if function == 'collections OrderedDict':
        return dict(*arguments)
    return None
