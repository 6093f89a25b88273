"""Cross entropy over the names of a vocabulary: all of them, or a few that are drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor, nn

from ...layers import to_device
from .class_sampler import ClassSampler


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
        """From an image's annotations.

        Args:
            num: How many regions it has.
            metainfo: Of the image: `source`, `true_labels`, and as LVIS has them `neg_labels` and
                `not_exhaustive_labels`, each of them where it is known.
            labels: Of all objects annotated in the image.
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

    With `num_negatives` a step compares with few classes: the labels of its batch, and others that
    are drawn by frequency. Its time and memory do not grow with K. What a drawn class adds to the
    softmax's sum is divided by the probability with which it was drawn (Horvitz and Thompson's
    estimate), so that the sum is right on average; labels of the batch are certain and stay as
    they are. With all classes drawn it is the exact loss.

    Args:
        loss_weight: Factor on the loss.
        bg_weight: Weight of the background class inside it.
        num_negatives: How many classes are drawn for a step; None compares with all K.
        frequency_power: They are drawn in proportion to their frequency, where that is known (see
            `set_frequencies`), to this power.
        correction: Whether drawn classes are divided by their probabilities; without it a sampled
            loss is that of a smaller vocabulary.
        federated: Whether a region of an image that has `neg_labels` is compared with the classes
            only that were verified in its image: those of its objects and its `neg_labels`,
            without those annotated in part. Otherwise with all classes, as other data.
        by_source: Whether a region is compared with the classes only that its own data set has
            objects of (see `set_source_classes`). Otherwise those that only another one has are
            pushed away from all regions of this one, also where they are finer names of the same.

    Raises:
        ValueError: A number is out of its range.
    """

    def __init__(
        self,
        loss_weight: float = 2.0,
        bg_weight: float = 0.1,
        num_negatives: int | None = None,
        frequency_power: float = 0.5,
        correction: bool = True,
        federated: bool = False,
        by_source: bool = False,
    ) -> None:
        super().__init__()
        if num_negatives is not None and num_negatives < 1:
            raise ValueError(
                f'num_negatives must be at least 1, or None for all, not {num_negatives}.'
            )
        if not 0 <= frequency_power <= 1:
            raise ValueError(
                f'frequency_power must lie between 0 (all classes alike) and 1, not '
                f'{frequency_power}.'
            )
        self.loss_weight = loss_weight
        self.bg_weight = bg_weight
        self.num_negatives = num_negatives
        self.frequency_power = frequency_power
        self.correction = correction
        self.federated = federated
        self.by_source = by_source
        self.source_classes: Mapping[str, Tensor] = {}
        self.frequencies: Tensor | None = None
        self.sampler: ClassSampler | None = None
        self.known: Tensor | None = None
        self.trained: Tensor | None = None

    def set_frequencies(self, frequencies: Tensor) -> None:
        """Tell how frequent each class is in training.

        A class that never occurs is not compared with: it would only be pushed away.

        Args:
            frequencies: `(K,)`, not negative, in any unit.
        """
        self.frequencies = frequencies
        self.trained = None

    def set_source_classes(self, source_classes: Mapping[str, Tensor]) -> None:
        """Tell which classes each of several data sets has objects of.

        Args:
            source_classes: `(K,)` bool, by the name of the data set.
        """
        self.source_classes = source_classes

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
        classes = log_rates = None
        if self.num_negatives is None:
            untrained = to_device(~trained, embeddings.device)
            logits = classifier.logits(embeddings).masked_fill(untrained, float('-inf'))
        else:
            classes, log_rates = self._draw(trained, labels, images)
            logits = classifier.logits_of(embeddings, classes)
            labels = _index_of(labels, classes, background)
        logits = self._compared(logits, labels, images, classes)
        labels = to_device(labels, logits.device)
        correct = logits.argmax(1) == labels
        if log_rates is not None and self.correction:
            logits = logits - F.pad(to_device(log_rates, logits.device), (0, 1))
        weight = logits.new_ones(logits.shape[1])
        weight[-1] = self.bg_weight
        values = F.cross_entropy(logits, labels, weight, ignore_index=-1, reduction='none')
        return RegionLosses(self.loss_weight * values, weights, correct)

    def _trained(self, classifier) -> Tensor:
        """`(K + 1,)` bool, what regions may be compared with, the background included."""
        if self.trained is None or self.known is not classifier.trained:
            self.trained = self.known = classifier.trained  # a vocabulary brings its own
            self.sampler = None
            if self.frequencies is not None:
                if len(self.frequencies) != classifier.num_classes:
                    raise ValueError(
                        f'Frequencies of {len(self.frequencies)} classes were set and the '
                        f'vocabulary has {classifier.num_classes}: set those of its own.'
                    )
                occurs = F.pad(self.frequencies > 0, (0, 1), value=True)
                self.trained = self.trained & occurs.cpu()
        return self.trained

    def _draw(
        self, trained: Tensor, labels: Tensor, images: Sequence[ImageLabels]
    ) -> tuple[Tensor, Tensor]:
        """Classes of this step, and the logarithms of their probabilities."""
        if self.sampler is None:
            self.sampler = ClassSampler(
                trained[:-1], self.num_negatives, self.frequencies, self.frequency_power
            )
        certain = set(labels.tolist())
        for image in images:
            certain.update(image.true, image.verified or () if self.federated else ())
        return self.sampler.draw(certain)

    def _compared(
        self,
        logits: Tensor,
        labels: Tensor,
        images: Sequence[ImageLabels],
        classes: Tensor | None,
    ) -> Tensor:
        """Logits `(N, C + 1)`, minus infinity where a class is nothing to compare a region with."""
        left_out = places = None
        start = 0
        for image in images:
            rows = slice(start, start + image.num)
            start = rows.stop
            verified = image.verified if self.federated else None
            own = self.source_classes.get(image.source) if self.by_source else None
            if verified is None and own is None and len(image.true) < 2:
                continue
            if left_out is None:
                left_out = torch.zeros(logits.shape, dtype=torch.bool)
                known = range(logits.shape[1] - 1) if classes is None else classes.tolist()
                places = {label: place for place, label in enumerate(known)}
            if own is not None:
                left_out[rows, :-1] = ~(own if classes is None else own[classes])
            if verified is not None:
                left_out[rows, :-1] = True
                left_out[rows, [places[label] for label in verified if label in places]] = False
            left_out[rows, [places[label] for label in image.true if label in places]] = True
        if left_out is None:
            return logits
        own = labels.clamp(min=0)[:, None]
        left_out = to_device(left_out.scatter(1, own, False), logits.device)
        return logits.masked_fill(left_out, float('-inf'))


def _index_of(labels: Tensor, classes: Tensor, background: int) -> Tensor:
    """Labels as indices into `classes`, which has them; the background after these, -1 as it is."""
    found = torch.searchsorted(classes, labels.clamp(min=0, max=background - 1))
    found = torch.where(labels == background, len(classes), found)
    return torch.where(labels < 0, labels, found)
