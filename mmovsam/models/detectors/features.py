"""What OVSAM makes of images, before and after their prompts."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class ImageFeatures(NamedTuple):
    """What the encoder makes of a batch of images, before any prompt."""

    embedding: Tensor
    """`(B, C, h, w)`, read by the mask decoder."""
    stage4: Tensor | None
    """`(B, C4, H / 32, W / 32)`, read by CLIP's pooling; None without names."""
    region_maps: tuple[Tensor, ...]
    """`(B, C, H / s, W / s)` each, read by the head's region embedding."""
    high_res_maps: tuple[Tensor, ...] = ()
    """`(B, C, H / s, W / s)` each, read by a mask decoder of high resolution."""
    inputs: Tensor | None = None
    """`(B, 3, S, S)`, the network's input, for a model that looks at crops of it."""

    @property
    def pyramid(self) -> tuple[Tensor, ...]:
        """Maps from fine to coarse, read by a window decoder."""
        return (*self.high_res_maps, self.embedding, self.stage4)

    def map(self, function: Callable[[Tensor], Tensor]) -> ImageFeatures:
        """The features after a function of each tensor."""
        return ImageFeatures(
            function(self.embedding),
            None if self.stage4 is None else function(self.stage4),
            tuple(map(function, self.region_maps)),
            tuple(map(function, self.high_res_maps)),
            None if self.inputs is None else function(self.inputs),
        )

    def image(self, index: int) -> ImageFeatures:
        """The features of one image, as a batch of one that shares memory."""
        return self.map(lambda tensor: tensor[index : index + 1])

    def images(self) -> list[ImageFeatures]:
        """Those of each image. Gradients are put together once; `image` adds up whole batches."""
        parts = self.map(lambda tensor: tensor.split(1))
        count = len(self.embedding)
        return [parts.map(lambda split, i=index: split[i]) for index in range(count)]

    def to(self, dtype: torch.dtype | None = None) -> ImageFeatures:
        """The same in another precision, None for their own, with channels before rows in memory.

        RoIAlign reads memory in this order whatever a tensor's strides say.
        """
        return self.map(lambda tensor: tensor.to(dtype or tensor.dtype).contiguous())


class RegionEmbeddings(NamedTuple):
    """What N regions of one image are named by, in any vocabulary."""

    by_head: Tensor
    """`(N, D)`, what learned names."""
    by_tower: Tensor
    """`(N, D)`, CLIP's pooling."""
    visible: Tensor
    """`(N,)` bool, whether the mask covers anything on the tower's last map."""


class RecognitionOutput(NamedTuple):
    """N masks of one image and the logits of their names, in the network's frame."""

    low_res_logits: Tensor
    """`(N, 1, h, w)`."""
    iou_predictions: Tensor | None
    """`(N,)`, the decoder's opinion of each mask; None where it has none."""
    head_logits: Tensor | None
    """`(N, K + 1)`, from the head's region embedding."""
    clip_logits: Tensor | None
    """`(N, K + 1)`, from CLIP's pooling."""
    fused_logits: Tensor | None
    """`(N, K + 1)`, logarithms."""
    regions: RegionEmbeddings | None = None
    """What the logits were made of; None without names or without prompts."""
