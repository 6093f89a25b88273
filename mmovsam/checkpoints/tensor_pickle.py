"""Pickles of tensors, read as data.

The few instructions that lists of tensors need are followed here by hand; nothing that a pickle
names is imported, called or run, and any other instruction is refused.
"""

from __future__ import annotations

import pickletools
from typing import NamedTuple

import torch

DTYPES = {
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


class Place(NamedTuple):
    """Where a tensor is among the records of its archive; offset and stride count its values."""

    record: str
    dtype: torch.dtype
    offset: int
    size: tuple
    stride: tuple


def follow(pickled: bytes):
    """What the instructions of a pickle of `torch.save` or TorchScript build, tensors as `Place`.

    Names of code stay text.

    Raises:
        ValueError: There is an instruction that tensors do not need.
    """
    stack, memo, marks = [], {}, []

    def from_mark() -> list:
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
            stack.append(tuple(from_mark()))
        elif name in ('TUPLE1', 'TUPLE2', 'TUPLE3'):
            stack[-int(name[-1]) :] = [tuple(stack[-int(name[-1]) :])]
        elif name == 'APPEND':
            item = stack.pop()
            stack[-1].append(item)
        elif name == 'APPENDS':
            items = from_mark()
            stack[-1].extend(items)
        elif name == 'SETITEM':
            value = stack.pop()
            key = stack.pop()
            stack[-1][key] = value
        elif name == 'SETITEMS':
            items = from_mark()
            stack[-1].update(zip(items[::2], items[1::2]))
        elif name == 'NEWOBJ':
            stack[-2:] = [Module()]  # of a class, with arguments
        elif name == 'BUILD':
            state = stack.pop()
            if isinstance(state, dict) and isinstance(stack[-1], Module):
                stack[-1].update(state)
        elif name == 'BINPERSID':
            _, kind, record, _, _ = stack.pop()  # the word 'storage', and where it lay, how long
            stack.append((record, DTYPES[kind]))
        elif name == 'REDUCE':
            arguments = stack.pop()
            stack.append(_rebuilt(stack.pop(), arguments))
        elif name == 'STOP':
            return stack.pop()
        elif name != 'PROTO':
            raise ValueError(f'the instruction {name} is not expected')
    raise ValueError('the list of modules has no end')


def _rebuilt(function: str, arguments: tuple):
    """Tensors and dictionaries; of any other call nothing is known, and nothing is needed."""
    if function == 'torch._utils _rebuild_tensor_v2':
        return Place(*arguments[0], *arguments[1:4])
    if function == 'torch._utils _rebuild_parameter':
        return arguments[0]
    if function == 'collections OrderedDict':
        return dict(*arguments)
    return None
