"""The CLIP2SAM head: SAM's mask decoder with a label token, and an embedding of each region."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmcv.ops import RoIAlign, point_sample
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.models.utils import get_uncertain_point_coords_with_randomness
from mmdet.registry import MODELS
from mmengine.model import BaseModule, initialize
from torch import Tensor, nn

from ...layers import (
    MLP,
    MaskDecoder,
    at_least_float32,
    prompt_maps,
    roi_align,
    sample_masks,
    to_device,
    to_rois,
    without_autocast,
)
from ...layers.mask_decoder import DecodedMasks

OUTSIDE = -1e4
"""A coordinate that lies outside of every map."""


@MODELS.register_module()
class CLIP2SAMHead(BaseModule):
    """Decode prompts to masks, and embed regions in CLIP's space (OVSAM, section 3.3).

    Args:
        mask_decoder: Arguments of `mmovsam.layers.MaskDecoder`.
        decodes_masks: Whether there is a mask decoder, and a label token with it; off where a
            `WindowDecoder` gives the masks.
        embed_dim: Width D of CLIP's joint space; None for a head that segments without names,
            which has neither label token nor region features.
        region_channels: Channels of the region maps.
        roi_extractor: MMDetection's `SingleRoIExtractor` over the region maps.
        region_hidden: Width in which the positions of a region are averaged, before a linear layer
            to D; None, as in the released models, to average in D itself.
        use_label_token: Add the label token's embedding to the region's. Off in the released
            models, whose checkpoints hold its parameters all the same.
        loss_mask: Loss of sampled mask logits.
        loss_dice: Loss of the overlap of sampled masks.
        loss_cls: Loss of region embeddings; `VocabularyLoss` by default.
        num_points: Points sampled on each mask for its losses.
        init_cfg: MMEngine's initialization of the mask decoder, for example from SAM's file with
            `prefix='mask_decoder'`; of its masks the first ones are taken.
    """

    def __init__(
        self,
        mask_decoder: dict | None = None,
        decodes_masks: bool = True,
        embed_dim: int | None = 768,
        region_channels: int = 256,
        roi_extractor: dict | None = None,
        region_hidden: int | None = None,
        use_label_token: bool = False,
        loss_mask: dict | None = None,
        loss_dice: dict | None = None,
        loss_cls: dict | None = None,
        num_points: int = 12544,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        mask_decoder = dict(mask_decoder or {})
        channels = mask_decoder.get('channels', 256)
        self.mask_decoder = MaskDecoder(**mask_decoder) if decodes_masks else None
        self.embed_dim = embed_dim
        self.use_label_token = use_label_token
        self.label_token = None
        if embed_dim is not None and decodes_masks:
            self.label_token = nn.Embedding(1, channels)
            self.label_mlp = MLP(channels, channels, embed_dim, 3)
            # Without a use it would have no gradient, which distributed training takes for a bug.
            self.label_mlp.requires_grad_(use_label_token)
        if embed_dim is not None:
            self.roi_conv = nn.Conv2d(region_channels, region_hidden or embed_dim, 1, bias=False)
            self.region_proj = nn.Linear(region_hidden, embed_dim) if region_hidden else None
            self.roi_extractor = MODELS.build(
                roi_extractor
                or dict(
                    type='SingleRoIExtractor',
                    roi_layer=dict(type='RoIAlign', output_size=12, sampling_ratio=0),
                    out_channels=region_channels,
                    featmap_strides=[4, 8, 16, 32],
                )
            )
            levels = torch.arange(self.roi_extractor.num_inputs)
            self.register_buffer('levels', levels[:, None], persistent=False)
            # From which side on, in pixels, a region is read from the second map, the third, ...
            sides = getattr(self.roi_extractor, 'finest_scale', 1) * (2.0 ** levels[1:] - 1e-6)
            self.register_buffer('level_sides', sides, persistent=False)
        self.loss_mask = MODELS.build(
            loss_mask or dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=5.0)
        )
        self.loss_dice = MODELS.build(
            loss_dice
            or dict(type='DiceLoss', use_sigmoid=True, naive_dice=True, eps=1.0, loss_weight=5.0)
        )
        self.loss_cls = MODELS.build(loss_cls or dict(type='VocabularyLoss'))
        self.num_points = num_points

    def init_weights(self) -> None:
        """Initialize the mask decoder as `init_cfg` says; the rest is as constructed."""
        if self.init_cfg:
            initialize(self.mask_decoder, self.init_cfg)

    @property
    def recognizes(self) -> bool:
        """Whether the head embeds regions in CLIP's space."""
        return self.embed_dim is not None

    @property
    def num_masks(self) -> int:
        """Masks that the decoder has for each prompt: one, or SAM's four."""
        return self.mask_decoder.mask_tokens.num_embeddings

    def decode(
        self,
        image_embedding: Tensor,
        image_pe: Tensor,
        sparse: Tensor,
        dense: Tensor,
        high_res_maps: Sequence[Tensor] = (),
        bboxes: Tensor | None = None,
        mask_input: Tensor | None = None,
    ) -> DecodedMasks:
        """Mask logits of the N prompts of one image.

        See `mmovsam.layers.MaskDecoder.forward`. Only a decoder of high resolution reads
        `high_res_maps`, and boxes `(N, 4)`, in positions of the embedding, and masks
        `(N, 1, 8h, 8w)` by themselves.
        """
        decoder = self.mask_decoder
        extra = None if self.label_token is None else self.label_token.weight
        maps = None
        if decoder.high_resolution:
            size = 8 * image_embedding.shape[-1]
            maps = prompt_maps(bboxes, mask_input, sparse.shape[0], size, 1 / 8)
        return decoder(image_embedding, image_pe, sparse, dense, extra, high_res_maps, maps)

    def embed_regions(
        self, region_maps: tuple[Tensor, ...], bboxes: Tensor, label_tokens: Tensor | None = None
    ) -> Tensor:
        """Embeddings `(N, D)` of regions of one image, not normalized.

        Args:
            region_maps: Maps `(1, C, H / s, W / s)` at the extractor's strides.
            bboxes: `(N, 4)` xyxy in pixels of the network's input.
            label_tokens: `(N, 1, C)` after the decoder; read if `use_label_token` is set.
        """
        with without_autocast(region_maps[0]):
            return self.embed_pooled(self.pool_regions(region_maps, bboxes), label_tokens)

    def pool_regions(
        self,
        region_maps: Sequence[Tensor],
        bboxes: Tensor,
        image_index: Tensor | None = None,
    ) -> Tensor:
        """Means `(N, H)` of regions, see `embed_regions`; H is `region_hidden`, or D.

        Maps may be `(B, C, H / s, W / s)`, of B images: `image_index` `(N,)` says which one a
        region is of.
        """
        # RoIAlign has no bfloat16
        maps = tuple(map(at_least_float32, region_maps[: self.roi_extractor.num_inputs]))
        bboxes = to_device(bboxes, maps[0].device).to(maps[0].dtype)
        regions = self._extract(maps, bboxes, image_index).to(self.roi_conv.weight)
        with without_autocast(regions):
            return self.mean_of(regions)

    def mean_of(self, regions: Tensor) -> Tensor:
        """Means `(N, H)` of what RoIAlign makes of regions, `(N, C, r, r)`."""
        return self.roi_conv(regions).relu().mean((2, 3))

    def embed_pooled(self, embeddings: Tensor, label_tokens: Tensor | None) -> Tensor:
        """Embeddings `(N, D)` of means `(N, H)` of regions."""
        if self.region_proj is not None:
            embeddings = self.region_proj(embeddings)
        if self.use_label_token:
            embeddings = embeddings + self.label_mlp(label_tokens[:, 0].to(embeddings))
        return embeddings

    def _extract(
        self, maps: tuple[Tensor, ...], bboxes: Tensor, image_index: Tensor | None
    ) -> Tensor:
        """What `roi_extractor` makes of boxes, `(N, C, r, r)`.

        Each map is asked about all boxes, those that are read from other maps lying outside of it:
        MMDetection's own loop waits to be told which are its own.
        """
        extractor = self.roi_extractor
        if not is_plain(extractor):
            return extractor(maps, to_rois(bboxes, image_index))
        # as MMDetection's `map_roi_levels`
        side = (bboxes[:, 2:] - bboxes[:, :2]).prod(1).sqrt()
        level = torch.bucketize(side, self.level_sides.to(side), right=True)
        elsewhere = level != self.levels
        each = to_rois(bboxes.masked_fill(elsewhere[..., None], OUTSIDE), image_index)
        regions = [
            roi_align(features, own, layer.output_size, layer.spatial_scale, layer.sampling_ratio)
            for own, layer, features in zip(each, extractor.roi_layers, maps)
        ]
        return torch.stack(regions).sum(0)

    @torch.no_grad()
    def sample_points(self, low_res_logits: Tensor) -> Tensor:
        """Where the losses look at masks `(N, 1, h, w)`: mostly where they are uncertain.

        Returns:
            `(N, P, 2)`, x and y in shares of the extent (PointRend, Mask2Former).
        """
        # of three candidates for each point the most uncertain ones, for three of four points
        return get_uncertain_point_coords_with_randomness(
            low_res_logits, None, self.num_points, 3.0, 0.75
        )

    def mask_losses(
        self,
        low_res_logits: Tensor,
        gt_masks: Tensor,
        points: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """BCE and Dice of logits `(N, 1, h, w)` on points of masks `(N, H, W)`, 1 inside.

        Without `points` they are those of `sample_points`.
        """
        if points is None:
            points = self.sample_points(low_res_logits)
        targets = sample_masks(gt_masks, points)
        logits = point_sample(at_least_float32(low_res_logits), points)[:, 0]
        return dict(
            loss_mask=self.loss_mask(logits.flatten(), targets.flatten()),
            loss_dice=self.loss_dice(logits, targets),
        )


def is_plain(extractor: nn.Module) -> bool:
    """Whether it reads each region from one map, by RoIAlign as `mmovsam.layers.roi_align` does."""
    levels = getattr(type(extractor), 'map_roi_levels', None)
    return levels is SingleRoIExtractor.map_roi_levels and all(
        isinstance(layer, RoIAlign) and layer.aligned and layer.pool_mode == 'avg'
        for layer in extractor.roi_layers
    )
