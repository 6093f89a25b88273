"""Accuracy on names that are not trained on: COCO's 17 novel classes beside its 48 base classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..datasets.ov_coco import BASE_CLASSES, NOVEL_CLASSES
from ..models.heads import RegionNamer
from ..vocabulary import Vocabulary, load_photo_text
from .name_training import Regions, embed_views, teach_names

NAMES = (*BASE_CLASSES, *NOVEL_CLASSES)
HANDICAPS = (0.0, 0.1, 0.15, 0.2)
"""Subtracted from the cosine similarity of the base classes, which training favors."""


def novel_accuracy(
    namer: RegionNamer,
    views: Sequence[Regions],
    views_of_val: Sequence[Regions],
    text_file: str = 'mmovsam://photo_text.safetensors',
    **kwargs,
) -> dict[str, float]:
    """Train a namer without the labels of novel classes and measure it among all 65 names.

    Args:
        namer: Untrained, changed in place.
        views: Regions to learn from, see `read_regions`.
        views_of_val: Regions to measure by, in one or two views.
        text_file: Weights of the text encoder.
        **kwargs: See `teach_names`.

    Returns:
        In percent for each handicap: `base`, top-1 of base objects; `novel`, top-1 of novel ones
        and `novel_top5`; and the latter two for the novel objects of `views`, whose labels were
        left out, as `unlearned`.
    """
    input_size = kwargs.get('input_size', 512)
    known, _ = teach_names(namer, views, without=NOVEL_CLASSES, text_file=text_file, **kwargs)
    classifier = Vocabulary(NAMES).build_classifier(*load_photo_text(text_file, known))
    rows, bias = F.normalize(classifier.flat()[0], dim=1), classifier.flat_bias()

    def scores_of(regions: Sequence[Regions]) -> tuple[Tensor, Tensor]:
        labels = [NAMES.index(name) if name in NAMES else -1 for name in regions[0].names]
        return embed_views(namer, regions, input_size) @ rows.T + bias, torch.tensor(labels)

    num_base = len(BASE_CLASSES)
    is_base = torch.arange(len(NAMES)) < num_base
    scores, labels = scores_of(views_of_val)
    unlearned, their_labels = scores_of(views)
    groups = dict(
        base=(scores, labels, (labels >= 0) & (labels < num_base)),
        novel=(scores, labels, labels >= num_base),
        unlearned=(unlearned, their_labels, their_labels >= num_base),
    )
    result = {}
    for handicap in HANDICAPS:
        for group, (scores, labels, chosen) in groups.items():
            best = (scores[chosen] - handicap * is_base).topk(5, dim=1).indices
            correct = best == labels[chosen, None]
            result[f'{group}_{handicap}'] = 100 * correct[:, 0].float().mean().item()
            result[f'{group}_{handicap}_top5'] = 100 * correct.any(1).float().mean().item()
    return result
