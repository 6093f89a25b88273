"""The base class of sources of prompts, and filtering of prompts."""

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
    """Selects prompts of an image and keeps their order.

    Steps are applied in the order `score_thr`, `min_size`, `nms_iou`, `max_per_img`; by default all
    prompts pass. Prompts without boxes pass `min_size` and `nms_iou` and suppress none. Prompts
    without scores pass `score_thr`, and earlier ones rank higher.

    Args:
        score_thr: Lowest score, 0 to 1.
        max_per_img: Maximum number of prompts an image, those with the best scores.
        nms_iou: Threshold of greedy, class-agnostic non-maximum suppression, 0 to 1.
        min_size: Minimum length of a box's shorter side in pixels of the original image.
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
        """The filter with a config's arguments; None for one that passes all prompts."""
        require_known('filter', cfg or (), [field.name for field in fields(cls)])
        return cls(**(cfg or {}))

    def __call__(self, prompts: Prompts) -> Prompts:
        """Filter the prompts of one image, in pixels of the original image."""
        if self == PromptFilter():
            return prompts
        mask = torch.ones(len(prompts), dtype=torch.bool, device=prompts.device)
        if self.score_thr is not None and prompts.scores is not None:
            mask &= prompts.scores >= self.score_thr
        if self.min_size is not None and prompts.bboxes is not None:
            sides = prompts.bboxes[:, 2:] - prompts.bboxes[:, :2]
            mask &= ~(sides.amin(dim=1) < self.min_size)  # NaN where there is no box
        indices = mask.nonzero()[:, 0]
        if prompts.scores is not None:
            indices = indices[prompts.scores[indices].argsort(descending=True, stable=True)]
        if self.nms_iou is not None:
            indices = indices[self._nms(prompts[indices])]
        return prompts[indices[: self.max_per_img].sort().values]

    def _nms(self, prompts: Prompts) -> Tensor:
        """(N,) bool, which prompts, in descending order of scores, are not suppressed."""
        with_bbox = prompts.has_bbox.nonzero()[:, 0]
        mask = ~prompts.has_bbox
        if len(with_bbox):
            # ranks instead of scores, so that ties go to the first on every device
            ranks = torch.arange(len(with_bbox), 0, -1, dtype=torch.float32, device=prompts.device)
            _, indices = nms(prompts.bboxes[with_bbox], ranks, iou_threshold=self.nms_iou)
            mask[with_bbox[indices]] = True
        return mask


class Prompter(BaseModule):
    """Base class of sources of prompts.

    Args:
        filter: Arguments of `PromptFilter`.

    Attributes:
        classes: Names of the prompts' `labels`; None if they have no labels, or no names for them.
    """

    classes: tuple[str, ...] | None = None

    def __init__(self, filter: Mapping | None = None) -> None:
        super().__init__()
        self.filter = PromptFilter.from_cfg(filter)

    def forward(self, data_samples: list[DetDataSample]) -> list[Prompts]:
        """The filtered prompts of each image, in pixels of the original image.

        Raises:
            ValueError: If a data sample lacks what the prompter reads.
        """
        return [self.filter(self.prompts_of(data_sample)) for data_sample in data_samples]

    @abstractmethod
    def prompts_of(self, data_sample: DetDataSample) -> Prompts:
        """The prompts of one image, before the filter."""
