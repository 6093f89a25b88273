"""Cross entropy over the names of a vocabulary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor, nn

from ...layers import to_device


class ImageLabels(NamedTuple):
    """Image-level labels of the regions of one image."""

    num: int
    """Number of regions."""
    true: tuple[int, ...] = ()
    """Further classes of every region, as where a whole image has several labels."""
    verified: tuple[int, ...] | None = None
    """Classes exhaustively annotated in the image, present or not; None for all classes."""
    source: str | None = None
    """Name of the image's data set; None where there is one."""

    @classmethod
    def of(cls, num: int, metainfo: Mapping, labels: Sequence[int]) -> ImageLabels:
        """From the labels of all objects of an image and its metainfo.

        Read are, where present, `source`, `true_labels`, and LVIS's `neg_labels` and
        `not_exhaustive_labels`.
        """
        verified = None
        if metainfo.get('neg_labels') is not None:
            verified = {*labels, *metainfo['neg_labels']}
            verified = tuple(sorted(verified - {*metainfo.get('not_exhaustive_labels', ())}))
        true = tuple(metainfo.get('true_labels', ()))
        return cls(num, true, verified, metainfo.get('source'))


class RegionLosses(NamedTuple):
    """The loss of each of N regions."""

    values: Tensor
    """`(N,)`, 0 where the label does not count."""
    weights: Tensor
    """`(N,)`, on the host: the loss is the sum of values over the sum of weights."""
    correct: Tensor
    """`(N,)` bool, whether the label is the most similar of the classes it was compared with."""


@MODELS.register_module()
class VocabularyLoss(nn.Module):
    """Cross entropy of region embeddings over K classes and the background.

    Args:
        loss_weight: Factor on the loss.
        bg_weight: Weight of the background class inside it.
        federated: Whether a region of an image with `neg_labels` is compared only with the classes
            verified in its image: those of its objects and its `neg_labels`, without those not
            exhaustively annotated.
        by_source: Whether a region is compared only with the classes of its own data set. Otherwise
            the classes of other data sets are negatives, even where they are finer names of the
            same thing.

    Attributes:
        source_classes: Classes of each data set, `(K,)` bool, by its name.
        frequencies: `(K,)` on the host, in any unit, frequency of each class in training. A class
            that never occurs is not compared with, since it would only ever be a negative.
    """

    def __init__(
        self,
        loss_weight: float = 2.0,
        bg_weight: float = 0.1,
        federated: bool = False,
        by_source: bool = False,
    ) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.bg_weight = bg_weight
        self.federated = federated
        self.by_source = by_source
        self.source_classes: Mapping[str, Tensor] = {}
        self.frequencies: Tensor | None = None

    def forward(
        self, classifier, embeddings: Tensor, labels: Tensor, images: Sequence[ImageLabels]
    ) -> RegionLosses:
        """The loss of each region.

        Args:
            classifier: `OpenVocabClassifier`.
            embeddings: `(N, D)`, not normalized.
            labels: `(N,)`, K for the background; -1 and classes not trained do not count. Best on
                the host.
            images: Of the regions' images, in the same order.
        """
        background = classifier.num_classes
        trained, labels = self._trained(classifier), labels.cpu()
        labels = labels.masked_fill((labels >= 0) & ~trained[labels], -1)
        weights = (labels >= 0).float().masked_fill(labels == background, self.bg_weight)
        excluded = to_device(~self._compared(trained, labels, images), embeddings.device)
        logits = classifier.logits(embeddings).masked_fill(excluded, float('-inf'))
        labels = to_device(labels, logits.device)
        correct = logits.argmax(1) == labels
        weight = logits.new_ones(logits.shape[1])
        weight[-1] = self.bg_weight
        values = F.cross_entropy(logits, labels, weight, ignore_index=-1, reduction='none')
        return RegionLosses(self.loss_weight * values, weights, correct)

    def _trained(self, classifier) -> Tensor:
        """Classes that regions may be compared with, `(K + 1,)` bool, the background included."""
        if self.frequencies is None:
            return classifier.trained
        if len(self.frequencies) != classifier.num_classes:
            raise ValueError(
                f'Frequencies of {len(self.frequencies)} classes were set and the vocabulary has '
                f'{classifier.num_classes}: set those of its own.'
            )
        return classifier.trained & F.pad(self.frequencies > 0, (0, 1), value=True)

    def _compared(self, trained: Tensor, labels: Tensor, images: Sequence[ImageLabels]) -> Tensor:
        """Classes that each region is compared with, `(N, K + 1)` bool, its label included."""
        compared = trained.repeat(len(labels), 1)
        start = 0
        for image in images:
            rows = slice(start, start + image.num)
            start = rows.stop
            if self.federated and image.verified is not None:
                verified = torch.zeros_like(trained)
                verified[[*image.verified, -1]] = True
                compared[rows] &= verified
            elif self.by_source and image.source in self.source_classes:
                compared[rows, :-1] &= self.source_classes[image.source]
            compared[rows, list(image.true)] = False
        return compared.scatter(1, labels.clamp(min=0)[:, None], True)
