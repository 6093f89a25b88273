"""Embeddings of sentences, cached on disk.

A cache file's name is a hash of everything that its content depends on, so it is never out of date;
any file in `mmovsam.fileio.cache_folder` may be deleted at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor, nn
from tqdm import tqdm

from ..checkpoints.fingerprint import hash_of, module_fingerprint, tensor_digest
from ..checkpoints.loading import load_checkpoint_file, save_safetensors
from ..fileio import CACHE_VARIABLE, cache_folder
from ..logs import warn
from ..validation import require_at_least

SILENT_SECONDS = 2.0  # a progress bar appears after

_VERSION = 1  # part of the cache key: raise it when embeddings change
_TOKENIZED = 64  # sentences whose tokens identify a tokenizer


@torch.no_grad()
def encode_sentences(
    groups: Sequence[Sequence[str]],
    text_model: nn.Module,
    tokenizer: Callable[[list[str]], Tensor],
    batch_size: int = 256,
    progress: bool = True,
) -> Tensor:
    """One embedding for each of M groups of sentences: (M, D) float32 on the CPU.

    It is the normalized mean of the group's L2-normalized embeddings, as in CLIP's prompt
    ensembling (Radford et al., 2021, section 3.1.4). Sentences longer than the text tower's context
    are truncated, with a warning. `text_model` needs open_clip's `encode_text`; `tokenizer` makes
    (B, L) tokens of B texts.

    Raises:
        ValueError: If `batch_size` is not positive or an embedding is not finite.
    """
    require_at_least(1, batch_size=batch_size)
    sentences = list(chain.from_iterable(groups))
    rows = torch.arange(len(groups)).repeat_interleave(torch.tensor([len(g) for g in groups]))
    device = next((p.device for p in text_model.parameters()), torch.device('cpu'))
    sums, truncated = None, []
    bar = tqdm(
        total=len(sentences),
        desc='encoding names',
        unit=' sentences',
        delay=SILENT_SECONDS,
        disable=not progress,
    )
    with _eval_mode(text_model), bar:
        for start in range(0, len(sentences), batch_size):
            texts = sentences[start : start + batch_size]
            tokens = tokenizer(texts)
            truncated += _truncated(texts, tokens, tokenizer)
            features = text_model.encode_text(tokens.to(device)).float().cpu()
            if sums is None:
                sums = torch.zeros(len(groups), features.shape[1])
            sums.index_add_(0, rows[start : start + len(texts)], F.normalize(features, dim=-1))
            bar.update(len(texts))
    if not sums.isfinite().all():
        raise ValueError('the text tower returns NaN or infinity: are its weights loaded?')
    if truncated:
        warn(
            f'{len(truncated)} of {len(sentences)} sentences are longer than this text tower reads '
            f'({tokenizer.context_length} tokens) and were cut off at the end, such as '
            f'{truncated[0]!r}. Shorten the name, or give the class a prompt of its own.'
        )
    return F.normalize(sums, dim=-1)


def _truncated(texts: list[str], tokens: Tensor, tokenizer: Callable) -> list[str]:
    """The texts longer than the tokenizer's context; none if it has no `context_length`."""
    length = getattr(tokenizer, 'context_length', None)
    if length is None:
        return []
    padding = tokenizer([''])[0, -1]
    full = [text for text, last in zip(texts, tokens[:, -1]) if last != padding]
    if not full:
        return []
    longer = tokenizer(full, context_length=length + 1)
    return [text for text, last in zip(full, longer[:, -1]) if last != padding]


@contextmanager
def _eval_mode(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def cached_embeddings(
    groups: Sequence[Sequence[str]],
    text_model: nn.Module,
    tokenizer: Callable[[list[str]], Tensor],
    encode: Callable[[], Tensor],
) -> Tensor:
    """Embeddings (M, D) of M groups from the cache, or computed by `encode` and cached.

    Damaged files are replaced, and a folder that cannot be written costs a warning. Nothing is
    cached for a model without parameters, which cannot be told from others.
    """
    folder = cache_folder()
    model = None if folder is None else module_fingerprint(text_model, without='visual')
    if model is None:
        return encode()
    sample = chain.from_iterable(groups[:: max(len(groups) // _TOKENIZED, 1)])
    tokens = tokenizer(list(islice(sample, _TOKENIZED)))
    file = folder / f'{hash_of([_VERSION, groups, model, tensor_digest(tokens)])}.safetensors'
    embeddings = _read(file, len(groups))
    if embeddings is None:
        embeddings = encode()
        try:
            metadata = {'sha256': tensor_digest(embeddings)}
            save_safetensors({'embeddings': embeddings}, file, metadata)
        except (OSError, SafetensorError) as error:
            warn(
                f'encoded names are not kept: {folder} cannot be written ({error}). Set '
                f'{CACHE_VARIABLE} to another folder, or to "off".'
            )
    return embeddings


def _read(file: Path, num_rows: int) -> Tensor | None:
    try:
        checkpoint = load_checkpoint_file(file)
        embeddings = checkpoint['state_dict']['embeddings']
        digest = checkpoint['meta']['sha256']
        if len(embeddings) == num_rows and digest == tensor_digest(embeddings):
            return embeddings
        reason = 'its content is not what was written'
    except FileNotFoundError:
        return None
    except (OSError, KeyError, ValueError) as error:
        reason = error
    warn(f'the cache file {file} is damaged and made anew: {reason}')
    return None
