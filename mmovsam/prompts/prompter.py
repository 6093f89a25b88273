"""What all sources of prompts have in common, and which of an image's prompts are asked about."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from mmcv.ops import nms
from mmdet.structures import DetDataSample
from mmengine.model import BaseModule
from torch import Tensor

from ..validation import require_at_least, require_fraction, require_known
from .prompts import Prompts


@dataclass(frozen=True)
class PromptFilter:
    """Takes some of an image's prompts, in the order in which they come.

    The steps are applied in the order `score_thr`, `min_size`, `nms_iou`, `max_per_img`; without
    any of them all prompts pass. A prompt without a box passes `min_size` and `nms_iou`, and stands
    in the way of no other. Prompts without scores pass `score_thr`, and the one that comes first is
    preferred.

    Args:
        score_thr: Prompts with a lower score are dropped, 0 to 1.
        max_per_img: How many prompts an image has at most, those with the best scores.
        nms_iou: A box that overlaps a better one of any class by a larger intersection over union
            is dropped (greedy non-maximum suppression), 0 to 1.
        min_size: Boxes whose shorter side is shorter are dropped, in pixels of the original image.
    """

    score_thr: float | None = None
    max_per_img: int | None = None
    nms_iou: float | None = None
    min_size: float | None = None

    def __post_init__(self) -> None:
        thresholds = dict(score_thr=self.score_thr, nms_iou=self.nms_iou)
        require_fraction(**{k: value for k, value in thresholds.items() if value is not None})
        require_at_least(1, max_per_img=self.max_per_img)
        require_at_least(0, min_size=self.min_size)

    @classmethod
    def from_cfg(cls, cfg: Mapping | None) -> PromptFilter:
        """The filter of a config's arguments; None lets everything pass."""
        require_known('filter', cfg or (), [field.name for field in fields(cls)])
        return cls(**(cfg or {}))

    def __call__(self, prompts: Prompts) -> Prompts:
        """The prompts of one image, in pixels of the original one, that pass, in their order."""
        if self == PromptFilter():
            return prompts
        kept = torch.ones(len(prompts), dtype=torch.bool, device=prompts.device)
        if self.score_thr is not None and prompts.scores is not None:
            kept &= prompts.scores >= self.score_thr
        if self.min_size is not None and prompts.bboxes is not None:
            sides = prompts.bboxes[:, 2:] - prompts.bboxes[:, :2]
            kept &= ~(sides.amin(dim=1) < self.min_size)  # NaN where there is no box
        order = kept.nonzero()[:, 0]
        if prompts.scores is not None:
            order = order[prompts.scores[order].argsort(descending=True, stable=True)]
        if self.nms_iou is not None:
            order = order[self._not_suppressed(prompts[order])]
        return prompts[order[: self.max_per_img].sort().values]

    def _not_suppressed(self, prompts: Prompts) -> Tensor:
        """(N,) bool, which prompts, the best first, have no better one that they overlap."""
        boxed = prompts.has_bbox.nonzero()[:, 0]
        kept = ~prompts.has_bbox
        if len(boxed):
            # Ranks instead of scores: among equal ones the first wins, on every device.
            ranks = torch.arange(len(boxed), 0, -1, dtype=torch.float32, device=prompts.device)
            _, survivors = nms(prompts.bboxes[boxed], ranks, iou_threshold=self.nms_iou)
            kept[boxed[survivors]] = True
        return kept


class Prompter(BaseModule):
    """Where the prompts of images come from, and which of them pass a `PromptFilter`.

    Attributes:
        classes: What the `labels` of the prompts mean: `labels[i]` is an index into it. None where
            prompts have no labels, or labels without names.
    """

    classes: tuple[str, ...] | None = None

    def __init__(self, filter: Mapping | None = None) -> None:
        super().__init__()
        self.filter = PromptFilter.from_cfg(filter)

    def forward(self, data_samples: list[DetDataSample]) -> list[Prompts]:
        """One `Prompts` an image, in pixels of the original image; empty where there are none.

        Raises:
            ValueError: If a data sample lacks what the prompter reads.
        """
        return [self.filter(self.prompts_of(data_sample)) for data_sample in data_samples]

    @abstractmethod
    def prompts_of(self, data_sample: DetDataSample) -> Prompts:
        """The prompts of one image before the filter."""
