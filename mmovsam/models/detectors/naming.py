"""What an instance is called and how sure that is: by recognition, by the detector, by both."""

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
    """Where the classes of a detector are in the vocabulary, by name.

    Names are compared as `split_name` reads them: `'Sofa/Couch'` is `'couch'`.

    Args:
        classes: The C classes of the detector.
        names: The K classes of the vocabulary.

    Attributes:
        labels: `(C,)` int64, the class of the vocabulary, -1 where it has none of that name.
        known: `(K,)` bool, what of the vocabulary the detector knows.
        missing: Classes that the vocabulary lacks.
    """

    def __init__(self, classes: Sequence[str], names: Sequence[str]) -> None:
        places: dict[str, int] = {}
        for label, name in enumerate(names):
            for part in split_name(name):
                places.setdefault(part, label)
        exact = {name: label for label, name in enumerate(names)}
        found = [
            exact.get(name, next((places[p] for p in split_name(name) if p in places), -1))
            for name in classes
        ]
        self.labels = torch.tensor(found, dtype=torch.long)
        self.known = torch.zeros(len(names), dtype=torch.bool)
        self.known[self.labels[self.labels >= 0]] = True
        self.missing = tuple(name for name, label in zip(classes, found) if label < 0)


@dataclass(frozen=True)
class LabelFusion:
    """Give instances their `labels` and `scores`.

    Args:
        names: Whose name an instance gets. `'recognition'`: OVSAM's. `'detector'`: the detector's,
            or OVSAM's where the vocabulary lacks it. `'fused'`: among the classes that the detector
            knows, the best by the geometric mean of both opinions; how likely it is one of them at
            all is recognition's to say, so that names the detector was never taught stay possible.
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
        top_k: int = TOP_K,
    ) -> None:
        """Set `labels`, `scores` and, with names, `topk_labels` and `topk_scores` `(N, k)`.

        Args:
            instances: Of N prompts.
            prompts: Their `labels`, in the detector's classes, and `scores` are read.
            probabilities: `(N, K)` by recognition; None for a model without names, whose instances
                keep label and score of their prompts (0 and 1 where they have none).
            class_map: What the detector's labels mean; None if it has no classes.
            top_k: How many of the best names are kept.
        """
        if probabilities is None:
            device, count = prompts.device, len(prompts)
            labels = torch.zeros(count, dtype=torch.long, device=device)
            instances.labels = labels if prompts.labels is None else prompts.labels
            scores = torch.ones(count, device=device)
            instances.scores = scores if prompts.scores is None else prompts.scores
            return
        ranking, probabilities = self._ranked(prompts, probabilities, class_map)
        scores, top = ranking.topk(min(top_k, ranking.shape[1]), dim=1)
        if ranking is not probabilities:
            scores = probabilities.gather(1, top)
        instances.topk_labels, instances.topk_scores = top, scores
        instances.labels = top[:, 0]
        instances.scores = _score(self.score, instances.topk_scores[:, 0], prompts)

    def _ranked(
        self, prompts: Prompts, probabilities: Tensor, class_map: ClassMap | None
    ) -> tuple[Tensor, Tensor]:
        """What names are chosen by and how probable they are, both `(N, K)`."""
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
        """Both opinions in one: `(N, K)`; rows without a label in the vocabulary stay.

        `known` is on the host.
        """
        labeled = (labels >= 0).nonzero()[:, 0]
        if len(labeled) == 0:
            return probabilities
        count, device = int(known.sum()), probabilities.device
        columns = to_device(known.nonzero()[:, 0], device)
        probs = probabilities[labeled].index_select(1, columns)
        # The detector gives its class its score and the others equal parts of the rest. A score
        # that is lower than by chance is no evidence for the others.
        sure = torch.ones_like(probs[:, 0]) if scores is None else scores[labeled].to(probs)
        sure = sure.clamp(1 / count, 1 - 1e-4)
        detector_probs = ((1 - sure) / max(count - 1, 1))[:, None].expand(-1, count).clone()
        place = to_device(known.cumsum(0) - 1, device)[labels[labeled]]
        detector_probs.scatter_(1, place[:, None], sure[:, None])
        least = torch.finfo(probs.dtype).tiny
        mean = torch.lerp(probs.clamp(min=least).log(), detector_probs.log(), self.detector_alpha)
        fused = probabilities.clone()
        total = probs.sum(1, keepdim=True)
        fused[labeled[:, None], columns] = mean.softmax(1) * total
        return fused


def _score(score: str, probability: Tensor, prompts: Prompts) -> Tensor:
    if prompts.scores is None or score == 'recognition':
        return probability
    detector = prompts.scores.to(probability)
    return detector if score == 'detector' else (detector * probability).sqrt()
