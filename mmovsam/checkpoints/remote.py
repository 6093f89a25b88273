"""Downloads of single tensors of a checkpoint.

A file of `torch.save` is a zip archive, whose directory, pickle and needed records are read by HTTP
range requests.
"""

from __future__ import annotations

import contextlib
import io
import zipfile
from pathlib import Path

import torch
from mmengine.logging import print_log
from torch import Tensor

from ..downloads import cached_file, fetch, open_remote
from ..fileio import atomic_path
from ..logs import warn
from .tensor_pickle import TensorRecord, read_pickle

PART = '#'  # between the address of a file and a prefix of names


def fetch_part(address: str) -> Path:
    """A cached file with some tensors of a checkpoint at an address.

    Args:
        address: `https://...#PREFIX`, with a prefix of the tensors' names. Without a prefix, from
            the hub (`hf://`), and from servers without range requests the whole file is fetched.

    Raises:
        DownloadError: It cannot be fetched.
        ValueError: It is no checkpoint, or has no such names.
    """
    url, _, prefix = address.partition(PART)
    if not prefix or not url.startswith(('http://', 'https://')):
        return fetch(url)

    def make(target: Path) -> None:
        tensors = read_part(url, prefix)
        with atomic_path(target) as temporary:
            torch.save(tensors, str(temporary))

    name = f'{Path(url).stem}.{prefix.strip(".").replace("/", "_") or "all"}.pth'
    try:
        return cached_file(address, name, make)
    except io.UnsupportedOperation as error:
        warn(f'{error}: it is fetched whole.')
    return fetch(url)


def read_part(url: str, prefix: str) -> dict[str, Tensor]:
    """Download the tensors of a checkpoint whose names have a prefix.

    Raises:
        OSError: It cannot be reached.
        io.UnsupportedOperation: The server has no range requests, or this is no file of
            `torch.save` since PyTorch 1.6.
        ValueError: It holds more than named tensors, or no such names.
    """
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(open_remote(url))
        try:
            archive = stack.enter_context(zipfile.ZipFile(file))
        except zipfile.BadZipFile as error:
            raise io.UnsupportedOperation(
                f'{url} is no zip archive, the format of torch.save since PyTorch 1.6'
            ) from error
        pickles = [name for name in archive.namelist() if name.endswith('/data.pkl')]
        if not pickles:
            raise io.UnsupportedOperation(f'{url} is no file of torch.save')
        root = pickles[0].removesuffix('data.pkl')
        try:
            content = read_pickle(archive.read(pickles[0]))
        except (LookupError, TypeError, AttributeError) as error:
            raise ValueError(f'{url} holds more than named tensors ({error}).') from error
        for key in ('state_dict', 'model'):
            if isinstance(content, dict) and isinstance(content.get(key), dict):
                content = content[key]
        names = [n for n in content if isinstance(n, str) and n.startswith(prefix)]
        if not names:
            raise ValueError(f'{url} has no tensors whose names begin with {prefix!r}.')
        tensors = {name: _read(archive, root, content[name], name, url) for name in names}
        print_log(
            f'{len(tensors)} tensors {prefix}* of {url}: {file.raw.received:,} of '
            f'{file.raw.size:,} bytes were fetched.',
            logger='current',
        )
    return tensors


def _read(archive: zipfile.ZipFile, root: str, entry: TensorRecord, name: str, url: str) -> Tensor:
    if not isinstance(entry, TensorRecord):
        raise ValueError(f'{name} of {url} is no tensor.')
    data = archive.read(f'{root}data/{entry.record}')  # zipfile compares its checksum
    values = torch.frombuffer(bytearray(data), dtype=entry.dtype) if data else torch.empty(0)
    try:
        return values.to(entry.dtype).as_strided(entry.size, entry.stride, entry.offset).clone()
    except RuntimeError as error:
        raise ValueError(f'{name} of {url} is no tensor of its own record ({error}).') from error
