"""Encoder and decoder of an OVSAM as modules of tensors, for ONNX."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers.bboxes import bboxes_of_logits
from ..layers.mask_decoder import DecodedMasks
from ..models.detectors import OVSAM, ImageFeatures
from ..models.detectors.features import visible_on
from ..models.detectors.region_crops import RegionCrops, encode_crops, refine_masks
from ..models.heads.open_vocab_classifier import EXCLUDED, fuse_opinions
from ..models.heads.window_decoder import WindowPrompts

FINE_MAPS = 3  # number of high-resolution maps, where there are any
PIXELS = 'pixels'  # the image, for a decoder with crops of it


class EncoderGraph(nn.Module):
    """From an image to the features for its prompts."""

    inputs = ('image',)

    def __init__(self, model: OVSAM) -> None:
        super().__init__()
        self.model = model
        self.outputs = ('image_embedding',)
        if model.recognizes:
            self.num_levels = model.head.roi_extractor.num_inputs
            levels = (f'region_map_{level}' for level in range(self.num_levels))
            self.outputs = ('image_embedding', 'stage4', *levels)
            if model.high_res_neck is not None or model.window_decoder is not None:
                self.outputs += tuple(f'high_res_map_{level}' for level in range(FINE_MAPS))
        if model.region_crop:
            self.outputs += (PIXELS,)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """The features of an image `(1, 3, S, S)` RGB, normalized and padded.

        They are the fields of `ImageFeatures` that the decoder reads, in the order of `outputs`.
        """
        features = self.model.extract_feat(image)
        if not self.model.recognizes:
            return (features.embedding,)
        region_maps = features.region_maps[: self.num_levels]
        outputs = (features.embedding, features.stage4, *region_maps, *features.high_res_maps)
        return outputs if features.inputs is None else (*outputs, features.inputs)


class DecoderGraph(nn.Module):
    """From prompts to masks and names, with dynamic numbers of prompts, points and names.

    Computes `OVSAM.recognize` with one mask per prompt, without sizes as Python numbers, which the
    graph would fix. A `WindowDecoder` always computes the windows of points, as the graph does not
    branch on prompts with boxes. `features` are the names of the outputs of the `EncoderGraph`.
    """

    def __init__(self, model: OVSAM, features: tuple[str, ...]) -> None:
        super().__init__()
        self.model = model
        encoder = model.prompt_encoder
        if encoder is not None:
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
            features: Outputs of `EncoderGraph`.
            point_coords: `(N, P, 2)` xy in pixels of the network's input.
            point_labels: `(N, P)`, 1 foreground, 0 background, 2 and 3 the upper left and lower
                right corner of a box, -1 padding, which must follow points without a box.
            img_shape: `(2,)`, height and width of the image in the network's input.
            *vocabulary: `(M, D)` normalized embeddings of all names; `(K, S)`, rows of the names
                of each class; `(K,)`, 1 for a novel class, 0 for a base class, -1 for neither.
                Nothing for a model without names.

        Returns:
            Low-resolution logits `(N, 1, h, w)`; quality `(N,)` of the masks, predicted or by
            their stability; and probabilities `(N, K)` of the classes.
        """
        image = self._image(features)
        bboxes, has_bbox = given_bboxes(point_coords, point_labels)
        tokens = None
        if self.model.window_decoder is not None:
            windows = bboxes, has_bbox, point_coords, point_labels
            logits, scores = self._decode_windows(image, *windows)
        else:
            decoded = self._decode(image, bboxes, point_coords, point_labels)
            logits, tokens = decoded.low_res_logits[:, :1], decoded.extra_tokens
            if decoded.iou_predictions is None:
                scores = self._stability_scores(logits, img_shape)
            else:
                scores = decoded.iou_predictions[:, 0]
        if not vocabulary:
            return logits, scores
        regions = bboxes_of_logits(logits, self.model.input_size)
        prompted = torch.where(has_bbox[:, None], bboxes.clamp(0, self.model.input_size), regions)
        crops = None
        if self.model.region_crop:
            crops = encode_crops(self.model, image.inputs, prompted)
            if self.model.crop_decoder is not None:
                prompts = WindowPrompts(prompted, has_bbox, point_coords, point_labels, logits)
                logits = refine_masks(self.model, crops, prompts)
        regions = dict(mask=regions, prompt=prompted)
        regions = [regions[self.model.test_cfg[key]] for key in ('head_region', 'clip_region')]
        named = self._name(image, crops, logits, tokens, *regions, *vocabulary)
        return logits, scores, named

    def _image(self, features: tuple[Tensor, ...]) -> ImageFeatures:
        if len(features) == 1:
            return ImageFeatures(features[0], None, ())
        *maps, pixels = features if self.model.region_crop else (*features, None)
        has_fine = self.model.high_res_neck is not None or self.model.window_decoder is not None
        split = len(maps) - (FINE_MAPS if has_fine else 0)
        return ImageFeatures(*maps[:2], tuple(maps[2:split]), tuple(maps[split:]), pixels)

    def _decode(
        self, image: ImageFeatures, bboxes: Tensor, coords: Tensor, labels: Tensor
    ) -> DecodedMasks:
        """All masks of prompts, by the head's mask decoder."""
        encoder, side = self.model.prompt_encoder, self.model.prompt_encoder.embedding_side
        painted = None
        if self.model.head.mask_decoder.high_resolution:
            painted = bboxes * (side / encoder.image_size)  # an empty one paints nothing
        return self.model.head.decode(
            image.embedding,
            self.image_pe,
            self._embed_prompts(coords, labels),
            encoder.no_mask_embed.weight[:, :, None, None].expand(-1, -1, side, side),
            image.high_res_maps,
            painted,
        )

    def _decode_windows(
        self, image: ImageFeatures, bboxes: Tensor, has_bbox: Tensor, coords: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Masks `(N, 1, h, w)` and their quality `(N,)`, by the window decoder."""
        decoder, maps = self.model.window_decoder, image.pyramid
        logits, quality, _, masks = decoder.propose(maps, coords, labels)
        ious = decoder.ranker(masks, quality, logits)
        best = ious.argmax(1, keepdim=True)
        guesses = decoder.guesses(coords, labels)
        guesses = guesses.gather(1, best[..., None].expand(-1, -1, 4))[:, 0]
        bboxes = torch.where(has_bbox[:, None], bboxes, guesses)
        none = coords.new_zeros(1, 1, 1, 1).expand(bboxes.shape[0], -1, -1, -1)
        prompts = WindowPrompts(bboxes, has_bbox, coords, labels, none)
        logits, quality = decoder.segment(maps, prompts)
        return logits, torch.where(has_bbox, quality, ious.gather(1, best)[:, 0])

    def _embed_prompts(self, coords: Tensor, labels: Tensor) -> Tensor:
        encoder = self.model.prompt_encoder
        position = encoder.pe_layer((coords + 0.5) / encoder.image_size)
        return position * (labels >= 0)[..., None] + F.embedding(labels + 1, self.kinds)

    def _stability_scores(self, logits: Tensor, img_shape: Tensor) -> Tensor:
        stride = self.model.input_size // logits.shape[-1]
        height, width = (img_shape + stride - 1) // stride
        positions = torch.arange(logits.shape[-1])
        inside = (positions[:, None] < height) & (positions < width)
        inner, outer = (((logits > level) & inside).flatten(1).sum(1) for level in (1, -1))
        return inner.float() / outer.clamp(min=1)

    def _name(
        self,
        image: ImageFeatures,
        crops: RegionCrops | None,
        logits: Tensor,
        label_tokens: Tensor,
        head_bboxes: Tensor,
        clip_bboxes: Tensor,
        text_embeddings: Tensor,
        name_index: Tensor,
        novel: Tensor,
    ) -> Tensor:
        classifier = self.model.classifier

        def scaled(embeddings: Tensor) -> Tensor:
            cosines = F.normalize(embeddings, dim=-1) @ text_embeddings.T
            cosines = cosines.index_select(1, name_index.flatten())
            best = cosines.reshape(-1, *name_index.shape).amax(-1)
            return classifier.logit_scale * torch.cat((best, torch.zeros_like(best[:, :1])), dim=1)

        embeddings = self.model.embed_views(
            image, crops, head_bboxes, clip_bboxes, label_tokens, logits
        )
        head_logits, clip_logits = map(scaled, embeddings)
        visible = visible_on(image.stage4, logits)
        novel = torch.cat((novel, novel.new_zeros(1)))  # the background
        alpha = torch.where(novel == 1, classifier.novel_alpha, classifier.base_alpha)
        fused = fuse_opinions(head_logits, clip_logits, visible, alpha)
        return fused.masked_fill(novel == -1, EXCLUDED).softmax(-1)[:, :-1]


def given_bboxes(coords: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Boxes `(N, 4)` xyxy of prompts, zeros without one, and which prompts `(N,)` have one.

    A box is two points with the labels 2 and 3.
    """
    corners = [(coords * (labels == label)[..., None]).sum(1) for label in (2, 3)]
    return torch.cat(corners, dim=1), (labels == 2).any(1)
