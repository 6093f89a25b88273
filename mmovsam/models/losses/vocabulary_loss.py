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
    """What is known of the regions of one image besides the label of each."""

    num: int
    """How many regions it has."""
    true: tuple[int, ...] = ()
    """Classes that each of them is, as where a whole image has several labels."""
    verified: tuple[int, ...] | None = None
    """Classes that are known to be in the image or not, of all objects of them; None if all are."""
    source: str | None = None
    """Which of several data sets it is from; None where there is one."""

    @classmethod
    def of(cls, num: int, metainfo: Mapping, labels: Sequence[int]) -> ImageLabels:
        """From the labels of all objects of an image and its metainfo.

        That is `source`, `true_labels`, and as LVIS has them `neg_labels` and
        `not_exhaustive_labels`, each of them where it is known.
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
    """`(N,)`: the loss of several regions is the sum of their values over that of their weights.

    On the host, where it is decided what the loss is of.
    """
    correct: Tensor
    """`(N,)` bool, whether the label is the most similar of the classes it was compared with."""


@MODELS.register_module()
class VocabularyLoss(nn.Module):
    """Cross entropy of region embeddings over K classes and the background.

    Args:
        loss_weight: Factor on the loss.
        bg_weight: Weight of the background class inside it.
        federated: Whether a region of an image that has `neg_labels` is compared with the classes
            only that were verified in its image: those of its objects and its `neg_labels`,
            without those annotated in part. Otherwise with all classes, as other data.
        by_source: Whether a region is compared with the classes only that its own data set has
            objects of. Otherwise those that only another one has are pushed away from all regions
            of this one, also where they are finer names of the same.

    Attributes:
        source_classes: `(K,)` bool, which classes a data set has objects of, by its name.
        frequencies: `(K,)` on the host, in any unit, how frequent each class is in training. One
            that never occurs is not compared with: it would only be pushed away.
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
            labels: `(N,)`, K for the background; -1, and classes that training must not know, do
                not count. Best on the host.
            images: Of what images they are, in their order.
        """
        background = classifier.num_classes
        trained, labels = self._trained(classifier), labels.cpu()
        labels = labels.masked_fill((labels >= 0) & ~trained[labels], -1)
        weights = (labels >= 0).float().masked_fill(labels == background, self.bg_weight)
        left_out = to_device(~self._compared(trained, labels, images), embeddings.device)
        logits = classifier.logits(embeddings).masked_fill(left_out, float('-inf'))
        labels = to_device(labels, logits.device)
        correct = logits.argmax(1) == labels
        weight = logits.new_ones(logits.shape[1])
        weight[-1] = self.bg_weight
        values = F.cross_entropy(logits, labels, weight, ignore_index=-1, reduction='none')
        return RegionLosses(self.loss_weight * values, weights, correct)

    def _trained(self, classifier) -> Tensor:
        """`(K + 1,)` bool, what regions may be compared with, the background included."""
        if self.frequencies is None:
            return classifier.trained
        if len(self.frequencies) != classifier.num_classes:
            raise ValueError(
                f'Frequencies of {len(self.frequencies)} classes were set and the vocabulary has '
                f'{classifier.num_classes}: set those of its own.'
            )
        return classifier.trained & F.pad(self.frequencies > 0, (0, 1), value=True)

    def _compared(self, trained: Tensor, labels: Tensor, images: Sequence[ImageLabels]) -> Tensor:
        """`(N, K + 1)` bool, what each region is compared with, its own label included."""
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
