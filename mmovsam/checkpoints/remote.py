"""Some tensors of a large file at an address, without the rest of it.

A file of `torch.save` is a zip archive: its directory, the list of tensors and the few records that
are wanted are read by HTTP ranges.
"""

from __future__ import annotations

import contextlib
import io
import zipfile
from pathlib import Path

import torch
from mmengine.logging import print_log
from torch import Tensor

from ..downloads import fetch, kept, open_remote
from ..fileio import atomic_path
from ..logs import warn
from .tensor_pickle import Place, follow

PART = '#'
"""Between the address of a file and the prefix of the names that are wanted of it."""


def fetch_part(address: str) -> Path:
    """A file of the cache with some tensors of a checkpoint elsewhere, by their names there.

    Args:
        address: `https://...#PREFIX`: of the file, and how the names of the tensors begin. The
            whole file is fetched without a prefix, of the hub (`hf://`), and where the server
            serves whole files only.

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
        return kept(address, name, make)
    except io.UnsupportedOperation as error:
        warn(f'{error}: it is fetched whole.')
    return fetch(url)


def read_part(url: str, prefix: str) -> dict[str, Tensor]:
    """The tensors of a checkpoint at an address whose names begin so, and nothing else of it.

    Raises:
        OSError: It cannot be reached.
        io.UnsupportedOperation: The server does not serve parts of files, or this one is none of
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
            content = follow(archive.read(pickles[0]))
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


def _read(archive: zipfile.ZipFile, root: str, place: Place, name: str, url: str) -> Tensor:
    if not isinstance(place, Place):
        raise ValueError(f'{name} of {url} is no tensor.')
    data = archive.read(f'{root}data/{place.record}')  # zipfile compares its checksum
    values = torch.frombuffer(bytearray(data), dtype=place.dtype) if data else torch.empty(0)
    try:
        return values.to(place.dtype).as_strided(place.size, place.stride, place.offset).clone()
    except RuntimeError as error:
        raise ValueError(f'{name} of {url} is no tensor of its own record ({error}).') from error
