"""Outputs of OVSAM: features of images, masks, and embeddings of regions."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class ImageFeatures(NamedTuple):
    """Features of a batch of images."""

    embedding: Tensor
    """`(B, C, h, w)`, read by the mask decoder."""
    stage4: Tensor | None
    """`(B, C4, H / 32, W / 32)`, pooled by the tower; None without names."""
    region_maps: tuple[Tensor, ...]
    """`(B, C, H / s, W / s)` each, read by the head's region embedding."""
    high_res_maps: tuple[Tensor, ...] = ()
    """`(B, C, H / s, W / s)` each, read by a mask decoder of high resolution."""
    inputs: Tensor | None = None
    """`(B, 3, S, S)`, the network's input, for a model that encodes crops of it."""

    @property
    def pyramid(self) -> tuple[Tensor, ...]:
        """Maps from fine to coarse, read by a window decoder."""
        return (*self.high_res_maps, self.embedding, self.stage4)

    def map(self, function: Callable[[Tensor], Tensor]) -> ImageFeatures:
        """Apply a function to each tensor."""
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
        """The features of each image; the backward pass is cheaper than that of `image`."""
        chunks = self.map(lambda tensor: tensor.split(1))
        return [chunks.map(lambda split, i=i: split[i]) for i in range(len(self.embedding))]

    def to(self, dtype: torch.dtype | None = None) -> ImageFeatures:
        """Convert to `dtype`, if given, and to contiguous memory.

        RoIAlign reads memory in this order whatever a tensor's strides are.
        """
        return self.map(lambda tensor: tensor.to(dtype or tensor.dtype).contiguous())


class RegionEmbeddings(NamedTuple):
    """Embeddings of N regions of one image, to be compared with any vocabulary."""

    by_head: Tensor
    """`(N, D)`, by the region namer or the head."""
    by_tower: Tensor
    """`(N, D)`, pooled by the tower."""
    visible: Tensor
    """`(N,)` bool, whether the mask covers a position of the tower's last map."""


class RecognitionOutput(NamedTuple):
    """N masks of one image, in the network's frame, and the logits of their names."""

    low_res_logits: Tensor
    """`(N, 1, h, w)`."""
    iou_predictions: Tensor | None
    """`(N,)`, predicted by the decoder; None where it predicts none."""
    head_logits: Tensor | None
    """`(N, K + 1)`, of `RegionEmbeddings.by_head`."""
    clip_logits: Tensor | None
    """`(N, K + 1)`, of `RegionEmbeddings.by_tower`."""
    fused_logits: Tensor | None
    """`(N, K + 1)`, log probabilities: see `OpenVocabClassifier.fuse`."""
    regions: RegionEmbeddings | None = None
    """Of the masks; None without names or without prompts."""


def visible_on(stage4: Tensor, logits: Tensor) -> Tensor:
    """Whether masks, logits `(N, 1, h, w)`, cover a position of the map `stage4`: `(N,)` bool."""
    resized = F.interpolate(logits, stage4.shape[-2:], mode='bilinear', align_corners=False)
    return (resized > 0).flatten(1).any(1)
