"""A reader of TorchScript archives, the format of OpenAI's CLIP files, that runs no code.

Such an archive is a zip file of a pickle of modules, which `tensor_pickle` reads, records with the
memory of tensors, and source code.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from .tensor_pickle import Module, TensorRecord, read_pickle


def is_torchscript(file) -> bool:
    """Whether a file is a TorchScript archive."""
    try:
        with zipfile.ZipFile(file) as archive:
            return _root(archive) is not None
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError):
        return False


def check_sums(file) -> None:
    """Compare the checksums of a zip archive, which PyTorch writes but does not compare.

    It takes a third of a second a GB. Checksums of 0 were not written.

    Raises:
        zipfile.BadZipFile: The file is damaged.
    """
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            if entry.CRC:
                with archive.open(entry) as record:
                    while record.read(1 << 20):
                        pass


def read_torchscript(file) -> dict[str, Tensor]:
    """The state dict of a TorchScript archive, memory-mapped.

    Raises:
        ValueError: It is damaged, or has more than modules and tensors. Nothing in it is run.
    """
    try:
        check_sums(file)
        with zipfile.ZipFile(file) as archive:
            module = read_pickle(archive.read(f'{_root(archive)}/data.pkl'))
            tensors = dict(_named_tensors(module))
            records = {tensor.record for tensor in tensors.values()}
            storages = {record: _storage(file, archive, record) for record in records}
        return {
            name: torch.empty(0, dtype=tensor.dtype).set_(storages[tensor.record], *tensor[2:])
            for name, tensor in tensors.items()
        }
    except Exception as error:  # whatever the broken bytes led to
        reason = ' '.join(str(error).split())[:200]
        raise ValueError(
            f'{file} is a TorchScript archive that cannot be read ({type(error).__name__}: '
            f'{reason}). Nothing in it was run. It is broken or was not downloaded completely: '
            'fetch it again, or save its state dict to a file of its own.'
        ) from error


def _root(archive: zipfile.ZipFile) -> str | None:
    """The top folder of a TorchScript archive; None for other zip files."""
    for name in archive.namelist():
        root, _, rest = name.partition('/')
        if rest == 'constants.pkl':
            return root
    return None


def _storage(file, archive: zipfile.ZipFile, key: str) -> torch.UntypedStorage:
    """A record, mapped on its own, so that its memory is freed with its last tensor."""
    record = archive.getinfo(f'{_root(archive)}/data/{key}')
    if record.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f'the record {record.filename} is compressed')
    if record.file_size == 0:
        return torch.UntypedStorage(0)
    archive.fp.seek(record.header_offset + 26)
    start = record.header_offset + 30 + sum(struct.unpack('<HH', archive.fp.read(4)))
    memory = np.memmap(file, np.uint8, 'c', start, record.file_size)
    return torch.from_numpy(memory).untyped_storage()


def _named_tensors(module: Module, prefix: str = '') -> Iterator[tuple[str, TensorRecord]]:
    for name, value in module.items():
        if isinstance(value, TensorRecord):
            yield prefix + name, value
        elif isinstance(value, Module):
            yield from _named_tensors(value, f'{prefix}{name}.')
