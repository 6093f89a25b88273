"""TorchScript archives, the format of OpenAI's CLIP files, read as data.

Such an archive is a zip file: a pickle lists the attributes of the program's modules, records
beside it hold the memory of their tensors, and the code is text. The pickle is read as data, see
`tensor_pickle`.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from .tensor_pickle import Module, Place, follow


def is_torchscript(file) -> bool:
    """Whether a file is a TorchScript archive."""
    try:
        with zipfile.ZipFile(file) as archive:
            return _root(archive) is not None
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError):
        return False


def check_sums(file) -> None:
    """Read a zip archive once, which compares the checksums that PyTorch writes but does not read.

    It takes a third of a second a GB. PyTorch can write none, which are 0 then.

    Raises:
        zipfile.BadZipFile: Something in it has changed.
    """
    with zipfile.ZipFile(file) as archive:
        for entry in filter(lambda entry: entry.CRC, archive.infolist()):
            with archive.open(entry) as part:
                while part.read(1 << 20):
                    pass


def read_torchscript(file) -> dict[str, Tensor]:
    """The tensors of a TorchScript archive, memory-mapped, by the names of `state_dict`.

    Raises:
        ValueError: It is broken, or no plain list of modules and tensors. Nothing in it is run.
    """
    try:
        check_sums(file)
        with zipfile.ZipFile(file) as archive:
            places = dict(_named_places(follow(archive.read(f'{_root(archive)}/data.pkl'))))
            records = {place.record for place in places.values()}
            storages = {record: _storage(file, archive, record) for record in records}
        return {
            name: torch.empty(0, dtype=place.dtype).set_(storages[place.record], *place[2:])
            for name, place in places.items()
        }
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


def _storage(file, archive: zipfile.ZipFile, key: str) -> torch.UntypedStorage:
    """The memory of a record, mapped by itself, so that it is given back with its last tensor."""
    record = archive.getinfo(f'{_root(archive)}/data/{key}')
    if record.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f'the record {record.filename} is compressed')
    if record.file_size == 0:
        return torch.UntypedStorage(0)
    archive.fp.seek(record.header_offset + 26)
    start = record.header_offset + 30 + sum(struct.unpack('<HH', archive.fp.read(4)))
    memory = np.memmap(file, np.uint8, 'c', start, record.file_size)
    return torch.from_numpy(memory).untyped_storage()


def _named_places(module: Module, prefix: str = '') -> Iterator[tuple[str, Place]]:
    for name, value in module.items():
        if isinstance(value, Place):
            yield prefix + name, value
        elif isinstance(value, Module):
            yield from _named_places(value, f'{prefix}{name}.')
