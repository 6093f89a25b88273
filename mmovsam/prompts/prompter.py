"""What all sources of prompts have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

from mmdet.structures import DetDataSample
from mmengine.model import BaseModule

from .prompt_filter import PromptFilter
from .prompts import Prompts


class Prompter(BaseModule):
    """Where the prompts of images come from.

    Args:
        filter: Arguments of `PromptFilter`, which prompts pass; None for all.

    Attributes:
        classes: What the `labels` of the prompts mean: `labels[i]` is an index into it. None where
            prompts have no labels, or labels without names.

    Raises:
        ValueError: If an argument of the filter is unknown or out of range.
    """

    classes: tuple[str, ...] | None = None

    def __init__(self, filter: Mapping | None = None) -> None:
        super().__init__()
        self.filter = PromptFilter.from_cfg(filter)

    def forward(self, data_samples: list[DetDataSample]) -> list[Prompts]:
        """The prompts of each image.

        Args:
            data_samples: With what the prompter reads, see there.

        Returns:
            One `Prompts` an image, in pixels of the original image; empty where there are none.

        Raises:
            ValueError: If a data sample lacks what the prompter reads.
        """
        return [self.filter(self.prompts_of(data_sample)) for data_sample in data_samples]

    @abstractmethod
    def prompts_of(self, data_sample: DetDataSample) -> Prompts:
        """The prompts of one image before the filter."""
