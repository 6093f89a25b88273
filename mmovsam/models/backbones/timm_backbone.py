"""An ImageNet classifier of timm as image tower."""

from __future__ import annotations

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn

from ...layers import (
    at_least_float32,
    fold_batch_norms,
    roi_align,
    roi_align_weights,
    to_rois,
    without_autocast,
)
from ...layers.tensors import in_parts, is_exporting
from ..freezable import Freezable

POOL_SIZE = 7
"""Bins along each side of a region, all of which are averaged."""


@MODELS.register_module()
class TimmBackbone(Freezable):
    """A convolutional classifier of timm: maps at five strides, and region embeddings.

    In place of CLIP's joint space of images and texts there is the space of the classifier's
    weights, in which the weights of a class are the embedding of its name. `projection` takes the
    centered features before the classifier to the D principal components of these weights.

    Args:
        model: Name of a timm model whose maps halve from one to the next. Nothing is downloaded.
        embed_dim: Width D of the space of names.
        frozen: Keep the tower in eval mode and without gradients. Statistics of batch norms are
            kept in training, too.
        init_cfg: MMEngine's initialization.

    Raises:
        ValueError: timm has no such model, or its maps are no pyramid.
    """

    def __init__(
        self,
        model: str = 'tf_efficientnet_lite2',
        embed_dim: int = 256,
        frozen: bool = True,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        import timm

        if not timm.is_model(model):
            raise ValueError(f'timm has no model {model!r}: choose one of timm.list_models().')
        self.visual = timm.create_model(model, num_classes=0)
        levels = self.visual.feature_info
        self.channels = tuple(level['num_chs'] for level in levels)
        self.strides = tuple(level['reduction'] for level in levels)
        if any(2 * fine != coarse for fine, coarse in zip(self.strides, self.strides[1:])):
            raise ValueError(
                f'{model} has maps at the strides {self.strides}, expected each to be twice the '
                'one before it: choose a convolutional network.'
            )
        self.embed_dim = embed_dim
        self.projection = nn.Linear(self.visual.head_hidden_size, embed_dim)
        self.freeze(frozen)
        self.eval()

    def train(self, mode: bool = True) -> TimmBackbone:
        super().train(mode)
        for module in self.visual.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    def fold_batch_norms(self) -> None:
        """Fold the batch norms of an EfficientNet into its convolutions, for good.

        Results change by rounding only, in some 60% of the time on a CPU. Afterwards there are no
        weights of batch norms to load or to train.
        """
        if hasattr(self.visual, 'conv_head'):  # an EfficientNet: a norm follows its convolution
            fold_batch_norms(self.visual)
            self.visual.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Maps `(B, C_i, H / s_i, W / s_i)`, fine ones first, of images `(B, 3, H, W)`."""
        x = x.contiguous(memory_format=torch.channels_last)
        return tuple(self.visual.forward_intermediates(x, intermediates_only=True))

    def embed_map(self, stage4: Tensor) -> Tensor:
        """Features `(B, F, h, w)` before the pooling, of the last map `(B, C, h, w)`."""
        stage4 = stage4.contiguous(memory_format=torch.channels_last)
        if not hasattr(self.visual, 'bn2'):  # no EfficientNet: pooling comes next
            return stage4
        return self.visual.bn2(self.visual.conv_head(stage4))

    def embed_regions(
        self, stage4: Tensor, bboxes: Tensor, mask_logits: Tensor | None = None
    ) -> Tensor:
        """Embeddings `(N, D)` of regions of one image, not normalized.

        Args:
            stage4: `(1, C, h, w)`, the last map of the image.
            bboxes: `(N, 4)` xyxy in pixels of the network's input.
            mask_logits: Not used.
        """
        stage4 = stage4.to(self.projection.weight.dtype)
        if is_exporting():
            return self.project(self.pool_regions(self.embed_map(stage4), None, bboxes))
        weights = self._region_weights(bboxes, stage4)
        positions = stage4.flatten(2)
        if in_parts(stage4):  # only the positions that regions cover
            used = weights.any(0)
            used[:1] = True  # a convolution needs one
            weights, positions = weights[:, used], positions[..., used]
        features = at_least_float32(self.embed_map(positions[..., None])[0, :, :, 0])
        with without_autocast(features):
            return self.project(weights @ features.T)

    def project(self, features: Tensor) -> Tensor:
        """Embeddings `(N, D)` of pooled features `(N, F)` of `embed_map`."""
        return self.projection(self.visual.forward_head(features[..., None, None]))

    def pool_regions(self, features: Tensor, image_index: Tensor | None, bboxes: Tensor) -> Tensor:
        """Means `(N, F)` of maps `(B, F, h, w)` over regions, as of RoIAlign.

        `image_index` `(N,)` has the image of each region, `bboxes` `(N, 4)` its box, xyxy in pixels
        of the network's input.
        """
        features = at_least_float32(features)
        if is_exporting():
            size, scale = (POOL_SIZE, POOL_SIZE), 1 / self.strides[-1]
            rois = to_rois(bboxes, image_index)
            return roi_align(features, rois, size, scale).mean((2, 3))
        weights = self._region_weights(bboxes, features)
        with without_autocast(features):
            if len(features) == 1:
                return weights @ features[0].flatten(1).T
            maps = features.flatten(2).index_select(0, image_index)
            return torch.bmm(maps, weights[..., None])[..., 0]

    def _region_weights(self, bboxes: Tensor, features: Tensor) -> Tensor:
        """Weights `(N, h * w)` of the positions of a map `(B, F, h, w)` in regions."""
        size = POOL_SIZE, 1 / self.strides[-1], *features.shape[-2:]
        down, across = roi_align_weights(at_least_float32(bboxes).to(features.device), *size)
        return (down.mean(2)[:, :, None] * across.mean(2)[:, None]).flatten(1)
