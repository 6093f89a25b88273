"""Hashes of tensors and modules."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import torch
from torch import Tensor, nn


def module_fingerprint(module: nn.Module, without: str | None = None) -> str | None:
    """Hexadecimal SHA-256 of all that a module's output depends on: tensors, types and settings.

    The submodule of the name `without` is ignored. None for a module without tensors.
    """

    def is_included(name: str) -> bool:
        return without is None or not f'{name}.'.startswith(f'{without}.')

    tensors = {
        name: tensor
        for name, tensor in chain(module.named_parameters(), module.named_buffers())
        if is_included(name)
    }
    if not tensors:
        return None
    with ThreadPoolExecutor() as pool:  # hashlib releases the interpreter's lock
        digests = list(pool.map(tensor_digest, tensors.values()))
    values = [
        (name, str(tensor.dtype), list(tensor.shape), digest)
        for (name, tensor), digest in zip(tensors.items(), digests)
    ]
    # such as the number of heads and the activation, which are in no tensor
    settings = [
        (name, type(submodule).__qualname__, _settings(submodule))
        for name, submodule in module.named_modules()
        if is_included(name)
    ]
    return hash_of([values, settings])


def _settings(module: nn.Module) -> dict:
    return {
        key: value
        for key, value in sorted(vars(module).items())
        if isinstance(value, (bool, int, float, str, tuple, torch.dtype))
        and not key.startswith('_')
        and key not in ('training', 'frozen')  # without effect in eval mode
    }


def tensor_digest(tensors: Tensor | Iterable[Tensor]) -> str:
    """Hexadecimal SHA-256 of the bytes of one or several tensors."""
    digest = hashlib.sha256()
    for tensor in (tensors,) if isinstance(tensors, Tensor) else tensors:
        data = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
        digest.update(data.numpy())
    return digest.hexdigest()


def hash_of(content: object) -> str:
    """Hexadecimal SHA-256 of a JSON-serializable object; other objects count by their `str`."""
    return hashlib.sha256(json.dumps(content, default=str).encode()).hexdigest()
