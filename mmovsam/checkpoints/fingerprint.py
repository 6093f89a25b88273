"""Hashes of tensors and of networks, to tell whether two are the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import torch
from torch import Tensor, nn


def module_fingerprint(module: nn.Module, without: str | None = None) -> str | None:
    """Hexadecimal SHA-256 of all that decides what a network says: its tensors and settings.

    The submodule of the name `without` does not count; a network without tensors has None.
    """

    def counts(name: str) -> bool:
        return without is None or not f'{name}.'.startswith(f'{without}.')

    tensors = {
        name: tensor
        for name, tensor in chain(module.named_parameters(), module.named_buffers())
        if counts(name)
    }
    if not tensors:
        return None
    with ThreadPoolExecutor() as pool:  # hashlib lets go of the interpreter's lock
        digests = list(pool.map(tensor_digest, tensors.values()))
    about = [
        (name, str(tensor.dtype), list(tensor.shape), digest)
        for (name, tensor), digest in zip(tensors.items(), digests)
    ]
    # Such as the number of heads and the kind of activation, which no tensor tells.
    settings = [
        (name, type(part).__qualname__, _settings(part))
        for name, part in module.named_modules()
        if counts(name)
    ]
    return hash_of([about, settings])


def _settings(module: nn.Module) -> dict:
    return {
        key: value
        for key, value in sorted(vars(module).items())
        if isinstance(value, (bool, int, float, str, tuple, torch.dtype))
        and not key.startswith('_')
        and key not in ('training', 'frozen')  # which say nothing of the output in eval mode
    }


def tensor_digest(tensors: Tensor | Iterable[Tensor]) -> str:
    """Hexadecimal SHA-256 of the bytes of a tensor, or of several after each other."""
    digest = hashlib.sha256()
    for tensor in (tensors,) if isinstance(tensors, Tensor) else tensors:
        data = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
        digest.update(data.numpy())
    return digest.hexdigest()


def hash_of(content: object) -> str:
    """Hexadecimal SHA-256 of what JSON can say; of other things their text counts."""
    return hashlib.sha256(json.dumps(content, default=str).encode()).hexdigest()
