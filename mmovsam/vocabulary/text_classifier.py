"""Text classifiers, and their files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..checkpoints.loading import load_checkpoint_file, save_safetensors
from ..checkpoints.quantization import pack_matrix, unpack_matrices


@dataclass(frozen=True)
class TextClassifier:
    """CLIP's text embeddings of the names of K classes.

    Args:
        embeddings: `(K, P, D)`, P names for each class, shorter lists padded with their first; or,
            with `counts`, `(M, D)`, class after class, which is smaller where few classes have many
            names. L2 normalized.
        names: The K class names, None if unknown.
        novel: For each class True (novel), False (base) or None (neither); None as a whole without
            such a split.
        counts: How many of the M names each of the K classes has.
        bias: `(K, P)` or `(M,)`, added to the cosine similarity of each name, where names of
            different origin do not score alike.

    Raises:
        ValueError: Shapes or lengths disagree, there is no class, or a value is not finite.
    """

    embeddings: Tensor
    names: tuple[str, ...] | None = None
    novel: tuple[bool | None, ...] | None = None
    counts: tuple[int, ...] | None = None
    bias: Tensor | None = None

    def __post_init__(self) -> None:
        shape = tuple(self.embeddings.shape)
        if self.counts is None:
            fits = self.embeddings.ndim == 3
        else:
            fits = self.embeddings.ndim == 2 and sum(self.counts) == len(self.embeddings)
            fits = fits and all(isinstance(count, int) and count > 0 for count in self.counts)
        if not fits or not self.embeddings.numel():
            raise ValueError(
                'A text classifier is a tensor (K, P, D) of P names for each of K classes, none of '
                'them 0, or (M, D) with K counts, at least 1 each, whose sum is M; this one has '
                f'shape {shape} and {"no" if self.counts is None else len(self.counts)} counts.'
            )
        if self.bias is not None and self.bias.shape != shape[:-1]:
            raise ValueError(
                f'The bias has shape {tuple(self.bias.shape)}; give one number for each name.'
            )
        tensors = [self.embeddings] if self.bias is None else [self.embeddings, self.bias]
        if not all(tensor.isfinite().all() for tensor in tensors):
            raise ValueError('A text classifier holds NaN or infinity: build it again.')
        for field in ('names', 'novel'):
            values: Sequence | None = getattr(self, field)
            if values is not None and len(values) != len(self):
                raise ValueError(
                    f'A text classifier of {len(self)} classes has {len(values)} {field}.'
                )

    def __len__(self) -> int:
        return len(self.embeddings if self.counts is None else self.counts)

    def flat(self) -> tuple[Tensor, Tensor]:
        """Embeddings `(M, D)` of all names without padding, and counts `(K,)`."""
        if self.counts is not None:
            return self.embeddings, torch.tensor(self.counts)
        distinct = self._distinct()
        return self.embeddings[distinct], distinct.sum(1)

    def flat_bias(self) -> Tensor:
        """The bias `(M,)` of each name of `flat`; zeros by default."""
        if self.bias is None:
            return self.embeddings.new_zeros(len(self.flat()[0]))
        return self.bias if self.counts is not None else self.bias[self._distinct()]

    def _distinct(self) -> Tensor:
        """`(K, P)` bool, which of `embeddings` are no padding."""
        distinct = (self.embeddings != self.embeddings[:, :1]).any(-1)
        distinct[:, 0] = True
        return distinct


def check_width(width: int, expected: int) -> None:
    """Raise a `ValueError` if the width D of a text classifier is not that of a model."""
    if width != expected:
        raise ValueError(
            f'The text classifier has width {width} and the model {expected}: they belong to '
            'different CLIP models. Build it with the text tower of this model.'
        )


def save_classifier(path: str | Path, classifier: TextClassifier, bits: int | None = None) -> None:
    """Write a text classifier as safetensors, atomically.

    With `bits`, 2 to 8, embeddings `(M, D)` with counts are quantized, with a scale for each name:
    in 8 bits their cosine similarity to the originals is 0.9999, in 6 bits 0.998.
    """
    fields = {key: getattr(classifier, key) for key in ('names', 'novel')}
    metadata = {key: json.dumps(value) for key, value in fields.items() if value is not None}
    tensors = {'embeddings': classifier.embeddings}
    if bits is not None:
        if classifier.counts is None:
            raise ValueError(
                'only embeddings (M, D) with counts fit in few bits: see TextClassifier.flat'
            )
        packed = pack_matrix(classifier.embeddings, bits)
        tensors = {f'embeddings.{key}': value for key, value in packed.items()}
    if classifier.counts is not None:
        tensors['counts'] = torch.tensor(classifier.counts)
    if classifier.bias is not None:
        tensors['bias'] = classifier.bias
    save_safetensors(tensors, path, metadata)


def load_classifier(path: str | Path) -> TextClassifier:
    """Read a file of `save_classifier`, or a `.pth` of one tensor `(K, P, D)`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file holds something else.
    """
    try:
        content = load_checkpoint_file(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f'There is no text classifier {path}: tools/build_vocabulary.py builds it ({error})'
        ) from None
    tensors, metadata = dict(embeddings=content), {}
    try:
        if isinstance(content, Mapping):
            tensors = content.get('state_dict', content)
            tensors = unpack_matrices(tensors) if isinstance(tensors, Mapping) else {}
            metadata = content.get('meta') or {}
        embeddings, counts, bias = (tensors.get(key) for key in ('embeddings', 'counts', 'bias'))
        if isinstance(embeddings, Tensor):
            names, novel = (
                tuple(json.loads(metadata[key])) if key in metadata else None
                for key in ('names', 'novel')
            )
            counts = None if counts is None else tuple(counts.tolist())
            return TextClassifier(embeddings.float(), names, novel, counts, bias)
    except (TypeError, ValueError) as error:
        raise ValueError(f'The text classifier {path} is broken: {error}') from error
    raise ValueError(
        f'{path} is no text classifier: expected a tensor (K, P, D), or safetensors with a '
        "tensor named 'embeddings'. Build one with tools/build_vocabulary.py."
    )
