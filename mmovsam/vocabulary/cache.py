"""Embeddings of names on disk, so that a vocabulary is encoded once.

They lie in the folder of `mmovsam.fileio.cache_folder`. A file's name is a hash of everything that
its content depends on, so it is never out of date; any file may be deleted at any time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

from mmengine.logging import print_log
from safetensors import SafetensorError
from torch import Tensor, nn

from ..checkpoints.fingerprint import hash_of, module_fingerprint, tensor_digest
from ..checkpoints.loading import load_checkpoint_file, save_safetensors
from ..fileio import CACHE_VARIABLE, cache_folder

_VERSION = 1  # of what embeddings mean: a higher one leaves older files alone
_TOKENIZED = 64  # sentences that tell one tokenizer from another


def cached_embeddings(
    groups: Sequence[Sequence[str]],
    text_model: nn.Module,
    tokenizer: Callable[[list[str]], Tensor],
    encode: Callable[[], Tensor],
) -> Tensor:
    """Embeddings from the cache, or encoded now and kept for the next time.

    A damaged file is replaced. Processes may share the folder: each writes whole files only. A
    folder that cannot be written costs a warning.

    Args:
        groups: M lists of sentences.
        text_model: What encodes them. One without parameters cannot be told from others, so
            nothing is kept of it.
        tokenizer: Its tokenizer.
        encode: Makes the embeddings `(M, D)`.
    """
    folder = cache_folder()
    model = None if folder is None else module_fingerprint(text_model, without='visual')
    if model is None:
        return encode()
    sample = chain.from_iterable(groups[:: max(len(groups) // _TOKENIZED, 1)])
    tokens = tokenizer([text for text, _ in zip(sample, range(_TOKENIZED))])
    key = hash_of([_VERSION, groups, model, tensor_digest(tokens)])
    file = folder / f'{key}.safetensors'
    embeddings = _read(file, len(groups))
    if embeddings is None:
        embeddings = encode()
        try:
            note = {'sha256': tensor_digest(embeddings)}
            save_safetensors({'embeddings': embeddings}, file, note)
        except (OSError, SafetensorError) as error:
            print_log(
                f'encoded names are not kept: {folder} cannot be written ({error}). Set '
                f'{CACHE_VARIABLE} to another folder, or to "off".',
                logger='current',
                level=logging.WARNING,
            )
    return embeddings


def _read(file: Path, rows: int) -> Tensor | None:
    try:
        content = load_checkpoint_file(file)
        embeddings = content['state_dict']['embeddings']
        if len(embeddings) != rows or content['meta']['sha256'] != tensor_digest(embeddings):
            raise ValueError('its content is not what was written')
    except FileNotFoundError:
        return None
    except (OSError, KeyError, ValueError) as error:
        print_log(
            f'the cache file {file} is damaged and made anew: {error}',
            logger='current',
            level=logging.WARNING,
        )
        return None
    return embeddings
