"""The vocabulary of an export as numpy arrays in a file."""

from __future__ import annotations

import io
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ..fileio import atomic_path
from ..logs import warn
from ..vocabulary import TextClassifier

BASE, NOVEL, NEITHER = 0, 1, -1  # kinds of classes, see `OpenVocabClassifier.fuse`


@dataclass(frozen=True)
class VocabularyArrays:
    """A text classifier as inputs of the exported decoder.

    Attributes:
        text_embeddings: `(M, D)` float32, L2 normalized, of all names.
        name_index: `(K, S)` int64, the rows of the names of each class; a class with fewer than S
            names repeats its first.
        novel: `(K,)` int64, `NOVEL`, `BASE` or `NEITHER`; `NOVEL` without a split.
        names: `(K,)`; numbers for a classifier without names.
    """

    text_embeddings: np.ndarray
    name_index: np.ndarray
    novel: np.ndarray
    names: np.ndarray

    @classmethod
    def from_classifier(cls, classifier: TextClassifier) -> VocabularyArrays:
        """The arrays of a text classifier, without its bias, of which a warning tells."""
        if classifier.bias is not None:
            warn(
                'The bias of the names is no part of an export: names of different origin do not '
                'score there as they do here.'
            )
        embeddings, counts = classifier.flat()
        slots = torch.arange(int(counts.max()))
        first = counts.cumsum(0) - counts
        kinds = {True: NOVEL, False: BASE, None: NEITHER}
        num_classes = len(classifier)
        return cls(
            F.normalize(embeddings.float(), dim=-1).numpy(),
            (first[:, None] + slots * (slots < counts[:, None])).numpy(),
            np.array([kinds[flag] for flag in classifier.novel or [True] * num_classes]),
            np.array(classifier.names or [str(index) for index in range(num_classes)]),
        )

    @property
    def inputs(self) -> dict[str, np.ndarray]:
        """The decoder's inputs by name."""
        return {key: value for key, value in vars(self).items() if key != 'names'}

    @property
    def classifier(self) -> TextClassifier:
        """The text classifier of these arrays."""
        additional = self.name_index[:, 1:] != self.name_index[:, :1]
        kinds = {NOVEL: True, BASE: False, NEITHER: None}
        return TextClassifier(
            torch.from_numpy(self.text_embeddings),
            tuple(self.names.tolist()),
            tuple(kinds[kind] for kind in self.novel.tolist()),
            tuple((1 + additional.sum(1)).tolist()),
        )

    def _check(self) -> None:
        """Raise a `ValueError` if the arrays are inconsistent."""
        shapes = [array.shape for array in vars(self).values()]
        embeddings, index, novel, names = shapes
        fits = [len(embeddings), len(index), novel, names] == [2, 2, index[:1], index[:1]]
        kinds = ''.join(array.dtype.kind for array in vars(self).values())
        if not fits or kinds != 'fiiU' or 0 in (*embeddings, *index):
            raise ValueError(f'shapes {shapes} of kinds {kinds}')
        if self.name_index.min() < 0 or self.name_index.max() >= embeddings[0]:
            raise ValueError('name_index names rows that there are not')

    def save(self, path: str | PathLike) -> None:
        """Write a `.npz` file atomically."""
        if Path(path).suffix != '.npz':
            raise ValueError(f'The vocabulary of an export goes into a .npz file, not {path}.')
        with atomic_path(path) as temporary, temporary.open('wb') as file:
            np.savez(file, **vars(self))

    @classmethod
    def load(cls, path: str | PathLike) -> VocabularyArrays:
        """Read a file of `save`; raises a `ValueError` for other files."""
        data = Path(path).read_bytes()
        try:
            with np.load(io.BytesIO(data)) as arrays:
                vocabulary = cls(**arrays)
            vocabulary._check()
            return vocabulary
        except Exception as error:  # numpy raises errors of many kinds
            raise ValueError(
                f'{path} is no vocabulary of an export ({error}). Write it with tools/export.py.'
            ) from None
