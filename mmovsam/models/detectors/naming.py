"""Labels and scores of instances, from recognition, from the detector, or from both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from mmengine.structures import InstanceData
from torch import Tensor

from ...layers import to_device
from ...prompts import Prompts
from ...vocabulary import split_name

TOP_K = 5
NAMES = ('recognition', 'detector', 'fused')
SCORES = ('geometric', 'recognition', 'detector')


class ClassMap:
    """The classes of a detector in the vocabulary, matched by name.

    Names are compared as `split_name` reads them: `'Sofa/Couch'` is `'couch'`.

    Args:
        classes: The C classes of the detector.
        names: The K classes of the vocabulary.

    Attributes:
        labels: `(C,)` int64, indices of the vocabulary; -1 where it lacks the name.
        known: `(K,)` bool, classes of the vocabulary that the detector has.
        missing: Classes of the detector that the vocabulary lacks.
    """

    def __init__(self, classes: Sequence[str], names: Sequence[str]) -> None:
        label_of = {name: label for label, name in enumerate(names)}
        by_synonym: dict[str, int] = {}
        for label, name in enumerate(names):
            for synonym in split_name(name):
                by_synonym.setdefault(synonym, label)
        labels = []
        for name in classes:
            synonyms = (s for s in split_name(name) if s in by_synonym)
            labels.append(label_of.get(name, by_synonym.get(next(synonyms, None), -1)))
        self.labels = torch.tensor(labels, dtype=torch.long)
        self.known = torch.zeros(len(names), dtype=torch.bool)
        self.known[self.labels[self.labels >= 0]] = True
        self.missing = tuple(name for name, label in zip(classes, labels) if label < 0)


@dataclass(frozen=True)
class LabelFusion:
    """Give instances their `labels` and `scores`.

    Args:
        names: Source of an instance's name. `'recognition'`: OVSAM. `'detector'`: the detector, or
            OVSAM where the vocabulary lacks the detector's class. `'fused'`: the geometric mean of
            both probabilities over the classes that the detector knows; their sum stays that of
            OVSAM, so that classes the detector was never taught stay possible.
        score: `'recognition'`, the probability of the name; `'detector'`, the prompt's score; or
            `'geometric'`, the root of their product. The latter two are the recognition's where
            prompts have no scores.
        detector_alpha: The detector's share in fused names, 0 to 1.
    """

    names: str
    score: str
    detector_alpha: float

    def __call__(
        self,
        instances: InstanceData,
        prompts: Prompts,
        probabilities: Tensor | None,
        class_map: ClassMap | None = None,
    ) -> None:
        """Set `labels`, `scores` and, with names, `topk_labels` and `topk_scores` `(N, 5)`.

        Args:
            instances: Of N prompts.
            prompts: Their `labels`, in the detector's classes, and `scores` are read.
            probabilities: `(N, K)` by recognition; None for a model without names, whose instances
                keep label and score of their prompts (0 and 1 where they have none).
            class_map: From the detector's labels to the vocabulary; None if it has no classes.
        """
        if probabilities is None:
            device, count = prompts.device, len(prompts)
            labels = torch.zeros(count, dtype=torch.long, device=device)
            instances.labels = labels if prompts.labels is None else prompts.labels
            scores = torch.ones(count, device=device)
            instances.scores = scores if prompts.scores is None else prompts.scores
            return
        ranking, probabilities = self._rank(prompts, probabilities, class_map)
        scores, top = ranking.topk(min(TOP_K, ranking.shape[1]), dim=1)
        if ranking is not probabilities:
            scores = probabilities.gather(1, top)
        instances.topk_labels, instances.topk_scores = top, scores
        instances.labels = top[:, 0]
        instances.scores = _score(self.score, instances.topk_scores[:, 0], prompts)

    def _rank(
        self, prompts: Prompts, probabilities: Tensor, class_map: ClassMap | None
    ) -> tuple[Tensor, Tensor]:
        """Values that names are sorted by, and their probabilities, both `(N, K)`."""
        if self.names == 'recognition' or class_map is None or prompts.labels is None:
            return probabilities, probabilities
        device = probabilities.device
        labels = class_map.labels.to(device)[prompts.labels.to(device)]
        if self.names == 'fused':
            fused = self._fuse(probabilities, labels, prompts.scores, class_map.known)
            return fused, fused
        labeled = (labels >= 0).nonzero()[:, 0]
        ranking = probabilities.clone()
        ranking[labeled, labels[labeled]] = 2.0  # before all others
        return ranking, probabilities

    def _fuse(
        self, probabilities: Tensor, labels: Tensor, scores: Tensor | None, known: Tensor
    ) -> Tensor:
        """Fused probabilities `(N, K)`; rows without a label in the vocabulary stay.

        `known` is on the host.
        """
        labeled = (labels >= 0).nonzero()[:, 0]
        if len(labeled) == 0:
            return probabilities
        count, device = int(known.sum()), probabilities.device
        columns = to_device(known.nonzero()[:, 0], device)
        probs = probabilities[labeled].index_select(1, columns)
        # The detector's class has its score, and the other classes share the rest equally. A score
        # lower than by chance is no evidence for the others.
        score = torch.ones_like(probs[:, 0]) if scores is None else scores[labeled].to(probs)
        score = score.clamp(1 / count, 1 - 1e-4)
        detector_probs = ((1 - score) / max(count - 1, 1))[:, None].expand(-1, count).clone()
        column = to_device(known.cumsum(0) - 1, device)[labels[labeled]]
        detector_probs.scatter_(1, column[:, None], score[:, None])
        log_probs = probs.clamp(min=torch.finfo(probs.dtype).tiny).log()
        mean = log_probs.lerp(detector_probs.log(), self.detector_alpha)
        fused = probabilities.clone()
        fused[labeled[:, None], columns] = mean.softmax(1) * probs.sum(1, keepdim=True)
        return fused


def _score(score: str, probability: Tensor, prompts: Prompts) -> Tensor:
    if prompts.scores is None or score == 'recognition':
        return probability
    detector = prompts.scores.to(probability)
    return detector if score == 'detector' else (detector * probability).sqrt()
