"""Names that are asked for against those that speak against them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ..models.detectors.features import RegionEmbeddings
from ..models.heads.open_vocab_classifier import OpenVocabClassifier, fuse_opinions
from ..vocabulary import split_name
from ..vocabulary.kinship import are_akin


class NameContest:
    """How probable each of the names is that are asked for, among those that are not akin to it.

    The others that are asked for and the background compete with a name. Those that may be right of
    the same thing do not, see `are_akin`: whether it is a cup says nothing against a red cup.

    Args:
        asked: Classifiers of the names, all of one model and with names.
        background: Classifiers of further names.
    """

    def __init__(
        self, asked: Sequence[OpenVocabClassifier], background: Sequence[OpenVocabClassifier] = ()
    ) -> None:
        self.classifiers = [*asked, *background]
        names = [name for classifier in self.classifiers for name in classifier.class_names]
        self.asked = tuple(name for classifier in asked for name in classifier.class_names)
        there = set(map(split_name, self.asked))
        first = len(self.asked)
        excluded = torch.cat([each.excluded[:-1] for each in self.classifiers]).tolist()
        kept = [
            i
            for i, name in enumerate(names)
            if i < first or not (excluded[i] or split_name(name) in there)
        ]
        self.names = tuple(names[i] for i in kept)
        self._kept = torch.tensor(kept)
        shares = torch.cat([each.alpha[:-1] for each in self.classifiers]).cpu()
        nothing = asked[0].alpha[-1:].cpu()  # the share of the column for none of the names
        self._alpha = torch.cat((shares[self._kept], nothing))

    def __call__(self, regions: RegionEmbeddings) -> Iterator[tuple[str, Tensor, Sequence[str]]]:
        """The probabilities of regions' names.

        Args:
            regions: N.

        Yields:
            For each name that is asked for: it, `(N, 1 + C)` probabilities of it and of its C
            competitors, and what these are called, it first.
        """
        head, clip = (self._logits(each) for each in (regions.by_head, regions.by_tower))
        rivals = _rivals(self.asked, self.names)
        for label, name in enumerate(self.asked):
            columns = [label, *rivals[label].tolist(), len(self.names)]
            opinions = head[:, columns], clip[:, columns]
            fused = fuse_opinions(*opinions, regions.visible, self._alpha[columns])
            yield name, fused.softmax(1)[:, :-1], [self.names[i] for i in columns[:-1]]

    def _logits(self, embeddings: Tensor) -> Tensor:
        """`(N, K + 1)` of embeddings `(N, D)`; the last column is for none of the names."""
        logits = [
            classifier.logits(embeddings.to(classifier.embeddings.device))[:, :-1].cpu()
            for classifier in self.classifiers
        ]
        logits = torch.cat(logits, 1)[:, self._kept]
        return torch.cat((logits, logits.new_zeros(len(logits), 1)), 1)


@lru_cache(maxsize=4)  # of many images the same is asked
def _rivals(asked: tuple[str, ...], names: tuple[str, ...]) -> list[np.ndarray]:
    """Which names compete with each that is asked for, as indices `(C,)`."""
    return [
        np.flatnonzero([not are_akin(name, other) for other in names]).astype(np.int32)
        for name in asked
    ]
