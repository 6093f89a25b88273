"""Text classifiers as files: the embeddings of K classes, with their names."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..checkpoints.loading import load_checkpoint_file, save_safetensors


@dataclass(frozen=True)
class TextClassifier:
    """What CLIP's text tower makes of a vocabulary.

    Args:
        embeddings: `(K, P, D)`, P names for each class, L2 normalized.
        names: The K class names, or None where the file does not tell.
        novel: For each class True (novel), False (base) or None (neither); None as a whole where
            the classes have no such split.

    Raises:
        ValueError: Shapes or lengths disagree, there is no class, or a number is not finite.
    """

    embeddings: Tensor
    names: tuple[str, ...] | None = None
    novel: tuple[bool | None, ...] | None = None

    def __post_init__(self) -> None:
        if self.embeddings.ndim != 3 or not self.embeddings.numel():
            raise ValueError(
                'A text classifier is a tensor (K, P, D) of P names for each of K classes, '
                f'none of them 0; this one has shape {tuple(self.embeddings.shape)}.'
            )
        if not self.embeddings.isfinite().all():
            raise ValueError('A text classifier holds NaN or infinity: build it again.')
        for field in ('names', 'novel'):
            values: Sequence | None = getattr(self, field)
            if values is not None and len(values) != len(self.embeddings):
                raise ValueError(
                    f'A text classifier of {len(self.embeddings)} classes has {len(values)} '
                    f'{field}; give one for each.'
                )

    def __len__(self) -> int:
        return len(self.embeddings)


def save_classifier(path: str | Path, classifier: TextClassifier) -> None:
    """Write a text classifier as safetensors, whole or not at all."""
    notes = {
        key: json.dumps(value)
        for key in ('names', 'novel')
        if (value := getattr(classifier, key)) is not None
    }
    save_safetensors({'embeddings': classifier.embeddings}, path, notes)


def load_classifier(path: str | Path) -> TextClassifier:
    """Read a text classifier: a file of `save_classifier`, or a `.pth` of one tensor `(K, P, D)`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file holds something else.
    """
    try:
        content = load_checkpoint_file(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f'There is no text classifier {path}. Build it with tools/build_vocabulary.py. '
            f'({error})'
        ) from None
    embeddings, notes = content, {}
    if isinstance(content, Mapping):
        state = content.get('state_dict', content)
        embeddings = state.get('embeddings') if isinstance(state, Mapping) else None
        notes = content.get('meta') or {}
    if not isinstance(embeddings, Tensor):
        raise ValueError(
            f'{path} is no text classifier: expected a tensor (K, P, D), or safetensors with a '
            "tensor named 'embeddings'. Build one with tools/build_vocabulary.py."
        )
    try:
        names, novel = (
            tuple(json.loads(notes[key])) if key in notes else None for key in ('names', 'novel')
        )
        return TextClassifier(embeddings.to(torch.float32), names, novel)
    except (TypeError, ValueError) as error:
        raise ValueError(f'The text classifier {path} is broken: {error}') from error
