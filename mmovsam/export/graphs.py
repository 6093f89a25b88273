"""The two halves of an OVSAM as modules of tensors alone, in the form that ONNX takes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import attention_pool_regions
from ..models.backbones.clip_towers import STRIDES, ResNetTower
from ..models.detectors import OVSAM
from ..models.detectors.instances import bboxes_of_logits
from ..models.heads.open_vocab_classifier import EXCLUDED

ROI_ALIGN_OPSET = 16
"""The first whose RoIAlign knows half pixels, which `aligned` is in mmcv."""


class EncoderGraph(nn.Module):
    """From an image to all that its prompts need.

    Args:
        model: The OVSAM.
    """

    inputs = ('image',)

    def __init__(self, model: OVSAM) -> None:
        super().__init__()
        self.model = model
        self.outputs = ('image_embedding',)
        if model.recognizes:
            self.num_levels = model.head.roi_extractor.num_inputs
            levels = (f'region_map_{level}' for level in range(self.num_levels))
            self.outputs = ('image_embedding', 'stage4', *levels)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Encode one image.

        Args:
            image: `(1, 3, S, S)` RGB, normalized and padded.

        Returns:
            The parts of `ImageFeatures` that are read, in the order of `outputs`.
        """
        features = self.model.extract_feat(image)
        if not self.model.recognizes:
            return (features.embedding,)
        return (features.embedding, features.stage4, *features.region_maps[: self.num_levels])


class DecoderGraph(nn.Module):
    """From prompts to masks and names, with any number of prompts, of points and of names.

    It equals `OVSAM.recognize` with regions of the predicted masks, but a number of prompts never
    becomes a Python number: that would fix it in the graph.

    Args:
        model: The OVSAM.
        features: What the outputs of its `EncoderGraph` are called.
    """

    def __init__(self, model: OVSAM, features: tuple[str, ...]) -> None:
        super().__init__()
        self.model = model
        encoder = model.prompt_encoder
        kinds = [encoder.not_a_point_embed, *encoder.point_embeddings]
        self.register_buffer('image_pe', encoder.dense_pe())
        self.register_buffer('kinds', torch.cat([kind.weight for kind in kinds]))
        self.inputs = (*features, 'point_coords', 'point_labels', 'img_shape')
        self.outputs = ('low_res_logits', 'scores')
        if model.recognizes:
            self.inputs += ('text_embeddings', 'name_index', 'novel')
            self.outputs += ('probabilities',)

    def forward(
        self,
        features: tuple[Tensor, ...],
        point_coords: Tensor,
        point_labels: Tensor,
        img_shape: Tensor,
        *vocabulary: Tensor,
    ) -> tuple[Tensor, ...]:
        """Segment and name N prompts of one image.

        Args:
            features: Of `EncoderGraph`.
            point_coords: `(N, P, 2)` xy in pixels of the network's input.
            point_labels: `(N, P)`, 1 foreground, 0 background, 2 and 3 the upper left and lower
                right corner of a box, -1 padding, which has to follow points without a box.
            img_shape: `(2,)`, height and width of the image inside of the network's input.
            *vocabulary: `(M, D)` normalized embeddings of all names; `(K, S)`, which of them name
                each class; `(K,)`, 1 for a novel class, 0 for a base class, -1 for one that is
                neither. None for a model without names.

        Returns:
            Low-resolution logits `(N, 1, h, w)`; quality `(N,)` of the masks, the decoder's own
            opinion or their stability; and probabilities `(N, K)` of the classes.
        """
        encoder = self.model.prompt_encoder
        side = encoder.embedding_side
        decoded = self.model.head.decode(
            features[0],
            self.image_pe,
            self._embed_prompts(point_coords, point_labels),
            encoder.no_mask_embed.weight[:, :, None, None].expand(-1, -1, side, side),
        )
        logits = decoded.low_res_logits[:, :1]
        if decoded.iou_predictions is None:
            scores = self._stability_scores(logits, img_shape)
        else:
            scores = decoded.iou_predictions[:, 0]
        if not vocabulary:
            return logits, scores
        return logits, scores, self._name(features, logits, decoded.extra_tokens, *vocabulary)

    def _embed_prompts(self, coords: Tensor, labels: Tensor) -> Tensor:
        encoder = self.model.prompt_encoder
        position = encoder.pe_layer((coords + 0.5) / encoder.image_size)
        return position * (labels >= 0)[..., None] + F.embedding(labels + 1, self.kinds)

    def _stability_scores(self, logits: Tensor, img_shape: Tensor) -> Tensor:
        stride = self.model.input_size // logits.shape[-1]
        height, width = (img_shape + stride - 1) // stride
        places = torch.arange(logits.shape[-1])
        inside = (places[:, None] < height) & (places < width)
        inner, outer = (((logits > at) & inside).flatten(1).sum(1) for at in (1, -1))
        return inner.float() / outer.clamp(min=1)

    def _name(
        self,
        features: tuple[Tensor, ...],
        logits: Tensor,
        label_tokens: Tensor,
        text_embeddings: Tensor,
        name_index: Tensor,
        novel: Tensor,
    ) -> Tensor:
        classifier = self.model.classifier
        _, stage4, *region_maps = features
        bboxes = bboxes_of_logits(logits, self.model.input_size)

        def log_probabilities(embeddings: Tensor) -> Tensor:
            cosines = F.normalize(embeddings, dim=-1) @ text_embeddings.T
            cosines = cosines.index_select(1, name_index.flatten())
            best = cosines.reshape(-1, *name_index.shape).amax(-1)
            with_background = torch.cat((best, torch.zeros_like(best[:, :1])), dim=1)
            return (classifier.logit_scale * with_background).log_softmax(-1)

        of_head = log_probabilities(self._embed_by_head(region_maps, bboxes, label_tokens))
        of_clip = log_probabilities(self._embed_by_clip(stage4, bboxes, logits))
        on_map = F.interpolate(logits, stage4.shape[-2:], mode='bilinear', align_corners=False)
        visible = (on_map > 0).flatten(1).any(1)
        novel = torch.cat((novel, novel.new_zeros(1)))  # the background
        alpha = torch.where(novel == 1, classifier.novel_alpha, classifier.base_alpha)
        alpha = alpha * visible[:, None]
        fused = (1 - alpha) * of_head + alpha * of_clip
        return fused.masked_fill(novel == -1, EXCLUDED).softmax(-1)[:, :-1]

    def _embed_by_head(
        self, region_maps: list[Tensor], bboxes: Tensor, label_tokens: Tensor
    ) -> Tensor:
        """As `CLIP2SAMHead.embed_regions`.

        Each level is asked about all boxes, those of other levels being empty there: that costs
        next to nothing and adds zeros.
        """
        head = self.model.head
        rois = torch.cat((torch.zeros_like(bboxes[:, :1]), bboxes), dim=1)
        levels = head.roi_extractor.map_roi_levels(rois, len(region_maps))
        regions = sum(
            roi_align(
                features,
                bboxes * (levels == level)[:, None],
                layer.output_size,
                layer.spatial_scale,
                layer.sampling_ratio,
            )
            for level, (layer, features) in enumerate(
                zip(head.roi_extractor.roi_layers, region_maps)
            )
        )
        embeddings = head.roi_conv(regions).relu().mean((2, 3))
        if head.use_label_token:
            embeddings = embeddings + head.label_mlp(label_tokens[:, 0])
        return embeddings

    def _embed_by_clip(self, stage4: Tensor, bboxes: Tensor, logits: Tensor) -> Tensor:
        """As `OpenCLIPBackbone.embed_regions`."""
        tower, visual = self.model.backbone.tower, self.model.backbone.visual
        if not isinstance(tower, ResNetTower):
            return tower.embed_regions(visual, stage4, bboxes, logits)
        regions = roi_align(stage4, bboxes, (tower.grid, tower.grid), 1 / STRIDES[-1])
        return attention_pool_regions(visual.attnpool, regions)


def roi_align(
    features: Tensor, bboxes: Tensor, size: tuple[int, int], scale: float, sampling_ratio: int = 0
) -> Tensor:
    """ONNX's RoIAlign, which equals mmcv's; outside of an export it computes nothing.

    Args:
        features: `(1, C, h, w)`.
        bboxes: `(N, 4)` xyxy in pixels of the network's input.
        size: `(g, g)` of the result.
        scale: From those pixels to the map's.
        sampling_ratio: Samples in each direction of a bin; 0 for as many as it has pixels.

    Returns:
        `(N, C, *size)`; zeros for an empty box.
    """
    return torch.onnx.ops.symbolic(
        'RoiAlign',
        (features, bboxes, torch.zeros_like(bboxes[:, 0], dtype=torch.long)),
        dict(
            coordinate_transformation_mode='half_pixel',
            mode='avg',
            output_height=size[0],
            output_width=size[1],
            sampling_ratio=sampling_ratio,
            spatial_scale=scale,
        ),
        dtype=features.dtype,
        shape=(bboxes.shape[0], features.shape[1], *size),
        version=ROI_ALIGN_OPSET,
    )
