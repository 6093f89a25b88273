"""TorchScript archives, the format of OpenAI's CLIP files, read as data.

Such an archive is a zip file: a pickle lists the attributes of the program's modules, records
beside it hold the memory of their tensors, and the code is text. The few instructions of the pickle
that a list of attributes needs are followed here by hand; nothing that it names is imported, called
or run, and any other instruction is refused.
"""

from __future__ import annotations

import pickletools
import struct
import zipfile
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

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


class _Module(dict):
    """The attributes of a module."""


def is_torchscript(file) -> bool:
    """Whether a file is a TorchScript archive."""
    try:
        with zipfile.ZipFile(file) as archive:
            return _root(archive) is not None
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError):
        return False


def read_torchscript(file) -> dict[str, Tensor]:
    """The tensors of a TorchScript archive, without running it.

    Args:
        file (str | Path): The archive.

    Returns:
        Parameters, buffers and other attributes that are tensors, memory-mapped, by the names of
        `state_dict`.

    Raises:
        ValueError: If the archive is broken, or no plain list of modules and tensors.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            pickled = archive.read(f'{_root(archive)}/data.pkl')
            module = _follow(pickled, _storage_reader(file, archive))
        return dict(_named_tensors(module))
    except Exception as error:  # whatever the broken bytes led to
        reason = ' '.join(str(error).split())[:200]
        raise ValueError(
            f'{file} is a TorchScript archive that cannot be read ({type(error).__name__}: '
            f'{reason}). Nothing in it was run. It is broken or was not downloaded completely: '
            'fetch it again, or save its state dict to a file of its own.'
        ) from error


def _root(archive: zipfile.ZipFile) -> str | None:
    """The folder of the archive, which is named after the file; None in other zip files."""
    for name in archive.namelist():
        root, _, rest = name.partition('/')
        if rest == 'constants.pkl':
            return root
    return None


def _storage_reader(file, archive: zipfile.ZipFile) -> Callable:
    """A function from the pickle's reference to a memory-mapped storage and its type."""
    root = _root(archive)

    def read(reference):
        _, kind, key, _, _ = reference  # the word 'storage', and where on which device it lay
        record = archive.getinfo(f'{root}/data/{key}')
        if record.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f'the record {record.filename} is compressed')
        archive.fp.seek(record.header_offset + 26)
        start = record.header_offset + 30 + sum(struct.unpack('<HH', archive.fp.read(4)))
        if record.file_size == 0:
            return torch.UntypedStorage(0), _DTYPES[kind]
        # each record by itself, so that its memory is given back with its last tensor
        memory = np.memmap(file, np.uint8, 'c', start, record.file_size)
        return torch.from_numpy(memory).untyped_storage(), _DTYPES[kind]

    return read


def _follow(pickled: bytes, read_storage: Callable):
    """What the instructions of TorchScript's pickles build. Names of code stay text."""
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
        elif name == 'SETITEMS':
            items = from_mark()
            stack[-1].update(zip(items[::2], items[1::2]))
        elif name == 'NEWOBJ':
            stack[-2:] = [_Module()]  # of a class, with arguments
        elif name == 'BUILD':
            state = stack.pop()
            if isinstance(state, dict):
                stack[-1].update(state)
        elif name == 'BINPERSID':
            stack.append(read_storage(stack.pop()))
        elif name == 'REDUCE':
            arguments = stack.pop()
            stack.append(_rebuilt(stack.pop(), arguments))
        elif name == 'STOP':
            return stack.pop()
        elif name != 'PROTO':
            raise ValueError(f'the instruction {name} is not expected')
    raise ValueError('the list of modules has no end')


def _rebuilt(function: str, arguments: tuple):
    """Tensors; of any other call nothing is known, and nothing is needed."""
    if function != 'torch._utils _rebuild_tensor_v2':
        return None
    (storage, dtype), offset, size, stride = arguments[:4]
    return torch.empty(0, dtype=dtype).set_(storage, offset, size, stride)


def _named_tensors(module: _Module, prefix: str = '') -> Iterator[tuple[str, Tensor]]:
    for name, value in module.items():
        if isinstance(value, Tensor):
            yield prefix + name, value
        elif isinstance(value, _Module):
            yield from _named_tensors(value, f'{prefix}{name}.')
