"""What a CLIP text tower makes of sentences."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from torch import Tensor, nn
from tqdm import tqdm

SILENT_SECONDS = 2.0
"""Encoding that takes no longer shows no progress."""


@torch.no_grad()
def encode_sentences(
    groups: Sequence[Sequence[str]],
    text_model: nn.Module,
    tokenizer: Callable[[list[str]], Tensor],
    batch_size: int = 256,
    progress: bool = True,
) -> Tensor:
    """One embedding for each group of sentences that say the same.

    A sentence that is longer than the tower's context is cut off at its end; the log says so.

    Args:
        groups: M lists of sentences.
        text_model: An open_clip model, or anything with its `encode_text`.
        tokenizer: Its tokenizer: a list of B texts to (B, L) tokens.
        batch_size: Sentences encoded at once.
        progress: Whether a long run shows its rate and the time left.

    Returns:
        (M, D) float32 on the CPU: the mean of the L2-normalized embeddings of a group, normalized
        again, as in CLIP's prompt ensembling (Radford et al., 2021, section 3.1.4).

    Raises:
        ValueError: If `batch_size` is not positive or the model returns no finite numbers.
    """
    if batch_size < 1:
        raise ValueError(f'batch_size must be at least 1, got {batch_size}')
    sentences = list(chain.from_iterable(groups))
    rows = torch.arange(len(groups)).repeat_interleave(torch.tensor([len(g) for g in groups]))
    device = next((p.device for p in text_model.parameters()), torch.device('cpu'))
    sums = None
    cut: list[str] = []
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
            cut += _cut_off(texts, tokens, tokenizer)
            features = text_model.encode_text(tokens.to(device)).float().cpu()
            if sums is None:
                sums = torch.zeros(len(groups), features.shape[1])
            sums.index_add_(0, rows[start : start + len(texts)], F.normalize(features, dim=-1))
            bar.update(len(texts))
    if not sums.isfinite().all():
        raise ValueError('the text tower returns NaN or infinity: are its weights loaded?')
    if cut:
        print_log(
            f'{len(cut)} of {len(sentences)} sentences are longer than this text tower reads '
            f'({tokenizer.context_length} tokens) and were cut off at the end, such as '
            f'{cut[0]!r}. Shorten the name, or give the class a prompt of its own.',
            logger='current',
            level=logging.WARNING,
        )
    return F.normalize(sums, dim=-1)


def _cut_off(texts: list[str], tokens: Tensor, tokenizer: Callable) -> list[str]:
    """The texts that are longer than the context, of a tokenizer that knows its own."""
    length = getattr(tokenizer, 'context_length', None)
    if length is None:
        return []
    padding = tokenizer([''])[0, -1]
    full = [texts[row] for row in _rows(tokens[:, -1] != padding)]
    if not full:
        return []
    longer = tokenizer(full, context_length=length + 1)
    return [full[row] for row in _rows(longer[:, -1] != padding)]


def _rows(where: Tensor) -> list[int]:
    return where.nonzero()[:, 0].tolist()


@contextmanager
def _eval_mode(module: nn.Module) -> Iterator[None]:
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training
