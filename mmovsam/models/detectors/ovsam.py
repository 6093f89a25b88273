"""Open-Vocabulary SAM as an MMDetection detector.

`extract_feat` encodes an image once for all prompts. `recognize` does the rest: `decode_masks` runs
the prompt encoder and mask decoder, `embed_views` embeds the masked regions by the head and by the
tower, and the classifier compares the embeddings with the names.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from torch import Tensor, nn

from ...layers import to_device
from ...layers.bboxes import bboxes_of_logits
from ...layers.mask_decoder import DecodedMasks
from ...layers.tensors import joined, merge_groups, of_each
from ...prompts import Prompts, sample_training_prompts
from ..heads import OpenVocabClassifier, WindowPrompts
from .features import ImageFeatures, RecognitionOutput, RegionEmbeddings, visible_on
from .prompted_detector import PromptedDetector, PromptOutput, build_optional, scale_factor_of
from .region_crops import RegionCrops, embed_crops, encode_crops, refine_masks
from .training import clip2sam_losses

TRAIN_KEYS = set(inspect.signature(sample_training_prompts).parameters)
TRAIN_KEYS -= {'gt_instances', 'generator'}


@MODELS.register_module()
class OVSAM(PromptedDetector):
    """Segment what is prompted and name it out of any vocabulary (arXiv 2401.02955).

    Without a classifier it segments only; with SAM's image encoder as backbone and no neck it is
    SAM.

    Args:
        backbone: Image tower. CLIP's gives a pyramid for the necks, SAM's the embedding itself.
        head: `CLIP2SAMHead`.
        prompt_encoder: `SAMPromptEncoder`, for a head that decodes masks.
        neck: `SAM2CLIPNeck`, from the pyramid to the decoder's embedding.
        region_neck: An FPN over the pyramid for the head's region embedding.
        high_res_neck: `HighResolutionNeck`, for a head whose decoder has high resolution. Each neck
            reads as many of the tower's coarsest maps as it has `in_channels`.
        window_decoder: `WindowDecoder`, in place of the head's mask decoder. It reads the tower's
            maps, so there is no prompt encoder and no neck but `region_neck`.
        region_namer: `RegionNamer`, in place of the head's embedding of regions.
        proposal_head: `ProposalHead`, which proposes boxes for everything-mode.
        region_crop: Side in pixels of a crop around each region that is encoded too; its embedding
            is averaged with that of the whole image. 0 for none. For a `TimmBackbone` with a
            `region_namer`.
        crop_decoder: `WindowDecoder`, which refines each mask in the region's crop.
        classifier: `OpenVocabClassifier`.
        prompter: Where prompts come from in `predict`: `GTPrompter`, `DetectorPrompter`, ...
        train_cfg: Arguments of `mmovsam.prompts.sample_training_prompts`.
        test_cfg: Settings of `predict`; the first of several choices is the default.

            - `chunk_size`: prompts decoded at once, by default 32 on a CPU and 128 elsewhere.
            - `names` (`'recognition'`, `'detector'` or `'fused'`), `score` (`'geometric'`,
              `'recognition'` or `'detector'`) and `detector_alpha` (0.5): see `LabelFusion`.
            - `bboxes`: `'prompt'`, the prompt's box where it has one, or `'mask'`, the mask's.
            - `mask_format`: `'tensor'` or `'rle'`, see `MaskWriter`.
            - `head_region`, `clip_region`: the box that is named. `'mask'`, the predicted mask's;
              `'prompt'`, the prompt's where it has one; `'annotated'`, the prompts'
              `annotated_bboxes`, even of points, as `clip_region` of the released evaluation, which
              so reads the annotation.
        data_preprocessor: `OVSAMDataPreprocessor`.
        init_cfg: MMEngine's initialization.

    Raises:
        ValueError: A setting of `train_cfg` or `test_cfg` is unknown, or a model with names lacks
            a neck.
    """

    def __init__(
        self,
        backbone: dict,
        head: dict,
        prompt_encoder: dict | None = None,
        neck: dict | None = None,
        region_neck: dict | None = None,
        high_res_neck: dict | None = None,
        window_decoder: dict | None = None,
        region_namer: dict | None = None,
        proposal_head: dict | None = None,
        region_crop: int = 0,
        crop_decoder: dict | None = None,
        classifier: dict | None = None,
        prompter: dict | None = None,
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(classifier, prompter, test_cfg, data_preprocessor, init_cfg)
        self.backbone = MODELS.build(backbone)
        self.neck = build_optional(neck)
        self.region_neck = build_optional(region_neck)
        self.high_res_neck = build_optional(high_res_neck)
        self.window_decoder = build_optional(window_decoder)
        self.region_namer = build_optional(region_namer)
        self.proposal_head = build_optional(proposal_head)
        self.crop_decoder = build_optional(crop_decoder)
        self.prompt_encoder = build_optional(prompt_encoder)
        self.head = MODELS.build(head)
        if (self.window_decoder is None) == (self.prompt_encoder is None):
            raise ValueError('OVSAM has either a prompt_encoder or a window_decoder.')
        has_neck = bool(self.neck or self.window_decoder) and self.region_neck is not None
        if self.recognizes and not has_neck:
            raise ValueError(
                'OVSAM with a classifier names regions by `region_neck` and reads masks by `neck`: '
                'give both (an FPN and a SAM2CLIPNeck), or no classifier.'
            )
        if region_crop < 0 or region_crop and self.region_namer is None:
            raise ValueError(
                f'region_crop is {region_crop}: it is a number of pixels, for a model with a '
                'region_namer; 0 for none.'
            )
        self.region_crop = region_crop
        self.encoder_dtype: torch.dtype | None = None  # set by `prepare_for_inference`
        self.train_cfg = dict(train_cfg or {})
        unknown = set(self.train_cfg) - TRAIN_KEYS
        if unknown:
            raise ValueError(f'train_cfg has no {sorted(unknown)}; it has {sorted(TRAIN_KEYS)}.')

    @property
    def recognizes(self) -> bool:
        """Whether predictions have names."""
        return self.classifier is not None and self.head.recognizes

    @property
    def input_size(self) -> int:
        return (self.window_decoder or self.prompt_encoder).image_size

    @property
    def logit_size(self) -> int:
        if self.window_decoder is not None:
            return self.window_decoder.logit_size
        return self.head.mask_decoder.upscaling * self.prompt_encoder.embedding_side

    @property
    def predicts_quality(self) -> bool:
        """Whether masks come with their predicted IoU."""
        return bool(self.window_decoder) or self.head.mask_decoder.iou_token is not None

    @property
    def masks_per_prompt(self) -> int:
        """Masks of a prompt with `multimask_output`: three, or one of a decoder with one."""
        return 3 if self.window_decoder else max(self.head.num_masks - 1, 1)

    # Images

    def extract_feat(self, batch_inputs: Tensor) -> ImageFeatures:
        """Encode images, once for all prompts.

        Args:
            batch_inputs: `(B, 3, S, S)`, normalized and padded.
        """
        if self.encoder_dtype in (None, torch.float32):
            return self._encode(batch_inputs).to()
        with torch.autocast(batch_inputs.device.type, self.encoder_dtype):
            features = self._encode(batch_inputs)
        return features.to(torch.float32)

    def _encode(self, batch_inputs: Tensor) -> ImageFeatures:
        pyramid = self.backbone(batch_inputs)
        if self.window_decoder is not None:
            *high_res_maps, embedding, stage4 = pyramid
            region_maps = tuple(_apply(self.region_neck, pyramid))
            inputs = batch_inputs if self.region_crop else None
            return ImageFeatures(embedding, stage4, region_maps, tuple(high_res_maps), inputs)
        if self.neck is None:
            return ImageFeatures(pyramid, None, ())
        return ImageFeatures(
            _apply(self.neck, pyramid),
            pyramid[-1],
            tuple(_apply(self.region_neck, pyramid)) if self.region_neck else (),
            tuple(_apply(self.high_res_neck, pyramid)) if self.high_res_neck else (),
        )

    # Masks

    def decode_masks(
        self,
        features: ImageFeatures,
        prompts: Prompts,
        multimask_output: bool = False,
    ) -> DecodedMasks:
        """Masks `(N, M, h, w)` and label tokens `(N, E, C)` of prompts in the network's frame.

        Prompts are grouped by kind on the host. Groups with equally many tokens, such as boxes and
        pairs of points, are decoded together.
        """
        if self.window_decoder is not None:
            count = self.masks_per_prompt if multimask_output else 1
            return self.window_decoder.decode_prompts(features.pyramid, prompts, count)
        device = features.embedding.device
        batches = {}
        for rows, group in self.sorted_prompts(prompts):
            sparse, dense = self.prompt_encoder(group.to(device))
            key = (sparse.shape[1], group.mask_input is None)
            painted = self._painted(group, device)
            batches.setdefault(key, []).append((rows, sparse, dense, painted))
        image_pe = self.prompt_encoder.dense_pe()
        chosen = slice(1, None) if multimask_output and self.head.num_masks > 1 else slice(0, 1)
        decoded, order = [], []
        for (_, shared_dense), groups in batches.items():
            rows, sparse, dense, painted = zip(*groups)
            bboxes, masks = (None if t[0] is None else joined(t) for t in zip(*painted))
            outputs = self.head.decode(
                features.embedding,
                image_pe,
                joined(sparse),
                dense[0] if shared_dense else joined(dense),
                features.high_res_maps,
                bboxes,
                masks,
            )
            iou = None if outputs.iou_predictions is None else outputs.iou_predictions[:, chosen]
            decoded.append((outputs.low_res_logits[:, chosen], iou, outputs.extra_tokens))
            order.extend(rows)
        if not order:
            empty = features.embedding.new_zeros(0, 1)
            logits = features.embedding.new_zeros(0, 1, self.logit_size, self.logit_size)
            return DecodedMasks(logits, empty, empty)
        return DecodedMasks(*merge_groups(decoded, order, device))

    def sorted_prompts(self, prompts: Prompts) -> list[tuple[Tensor, Prompts]]:
        """`Prompts.groups`, on the host: the one step that a compiled model leaves uncompiled."""
        return list(prompts.to('cpu').groups())

    def _painted(
        self, prompts: Prompts, device: torch.device
    ) -> tuple[Tensor | None, Tensor | None]:
        """Boxes, in positions of the embedding, and masks for a decoder of high resolution."""
        if not self.head.mask_decoder.high_resolution:
            return None, None
        if prompts.bboxes is None:
            bboxes = torch.full((len(prompts), 4), torch.nan)
        else:
            encoder = self.prompt_encoder
            bboxes = prompts.bboxes * (encoder.embedding_side / encoder.image_size)
        masks = prompts.mask_input
        return to_device(bboxes, device), None if masks is None else to_device(masks, device)

    # Names

    @torch.no_grad()
    def recognize(
        self,
        features: ImageFeatures,
        prompts: Prompts,
        multimask_output: bool = False,
        classifier: OpenVocabClassifier | None = None,
        decoded: DecodedMasks | None = None,
    ) -> RecognitionOutput:
        """Decode and name prompts of one image, all at once.

        Args:
            features: Of this image.
            prompts: In pixels of the network's input, on the host to avoid waiting for the device.
            multimask_output: Whether to give the decoder's alternative masks, where it has any, in
                place of its first one.
            classifier: Names the masks; None for the model's own.
            decoded: Result of `decode_masks` for these prompts; None to compute it.

        Returns:
            All masks, with those of one prompt next to each other.
        """
        decoded = decoded or self.decode_masks(features, prompts, multimask_output)
        count = decoded.low_res_logits.shape[1]  # masks of each prompt
        logits = decoded.low_res_logits.flatten(0, 1)[:, None]
        iou = None if decoded.iou_predictions is None else decoded.iou_predictions.flatten()
        if not self.recognizes:
            return RecognitionOutput(logits, iou, None, None, None)
        classifier = classifier or self.classifier
        if len(prompts) == 0:
            empty = logits.new_zeros(0, classifier.num_classes + 1)
            return RecognitionOutput(logits, iou, empty, empty, empty)
        head_region, clip_region = self.test_cfg['head_region'], self.test_cfg['clip_region']
        kinds = {head_region, clip_region} | ({'prompt'} if self.region_crop else set())
        mask_bboxes = bboxes_of_logits(logits, self.input_size)
        regions = {kind: self._region_bboxes(kind, prompts, mask_bboxes, count) for kind in kinds}
        crops = None
        if self.region_crop and features.inputs is not None:
            crops = encode_crops(self, features.inputs, regions['prompt'])
            if self.crop_decoder is not None:
                window_prompts = WindowPrompts.of(prompts, regions['prompt'], logits)
                logits = refine_masks(self, crops, window_prompts)
        tokens = decoded.extra_tokens
        by_head, by_tower = self.embed_views(
            features,
            crops,
            regions[head_region],
            regions[clip_region],
            None if tokens is None else of_each(tokens, count),
            logits,
        )
        head_logits, clip_logits = classifier.logits(torch.cat((by_head, by_tower))).chunk(2)
        visible = visible_on(features.stage4, logits)
        fused = classifier.fuse(head_logits, clip_logits, visible)
        embeddings = RegionEmbeddings(by_head, by_tower, visible)
        return RecognitionOutput(logits, iou, head_logits, clip_logits, fused, embeddings)

    def _region_bboxes(
        self, kind: str, prompts: Prompts, mask_bboxes: Tensor, count: int
    ) -> Tensor:
        """Boxes `(N * M, 4)` of regions of a kind of `test_cfg`, that of the mask by default."""
        bboxes = dict(prompt=prompts.bboxes, annotated=prompts.annotated_bboxes).get(kind)
        if bboxes is None:
            return mask_bboxes
        bboxes = of_each(to_device(bboxes, mask_bboxes.device), count)
        bboxes = _clip(bboxes, self.input_size)
        return torch.where(bboxes.isnan(), mask_bboxes, bboxes)

    def embed_views(
        self,
        features: ImageFeatures,
        crops: RegionCrops | None,
        head_bboxes: Tensor,
        clip_bboxes: Tensor,
        label_tokens: Tensor | None,
        logits: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Embeddings `(N, D)` of regions of one image, by the head and by the tower.

        Args:
            features: Of the image.
            crops: Around the regions, whose embeddings are added; None for none.
            head_bboxes: `(N, 4)` xyxy in pixels of the network's input.
            clip_bboxes: The same for the tower.
            label_tokens: `(N, 1, C)`, see `embed_regions`.
            logits: `(N, 1, h, w)` of the masks.
        """
        by_tower = self.backbone.embed_regions(features.stage4, clip_bboxes, logits)
        same = by_tower if head_bboxes is clip_bboxes else None
        by_head = self.embed_regions(features, head_bboxes, label_tokens, same)
        if crops is None:
            return by_head, by_tower
        views = (by_head, by_tower), embed_crops(self, crops, head_bboxes)
        return tuple(
            F.normalize(image.float(), dim=1) + F.normalize(crop.float(), dim=1)
            for image, crop in zip(*views)
        )

    def embed_regions(
        self,
        features: ImageFeatures,
        bboxes: Tensor,
        label_tokens: Tensor | None = None,
        by_tower: Tensor | None = None,
    ) -> Tensor:
        """Embeddings `(N, D)` of regions of one image, by the region namer or the head.

        Args:
            features: Of the image.
            bboxes: `(N, 4)` xyxy in pixels of the network's input.
            label_tokens: `(N, 1, C)`, for a head that uses them.
            by_tower: The tower's embeddings of these boxes; None to compute them where needed.
        """
        if self.region_namer is None:
            return self.head.embed_regions(features.region_maps, bboxes, label_tokens)
        if by_tower is None:
            by_tower = self.backbone.embed_regions(features.stage4, bboxes)
        pooled = self.head.pool_regions(features.region_maps, bboxes)
        return self.region_namer(by_tower, pooled, bboxes, self.input_size)

    def predict_chunk(
        self, features: ImageFeatures, prompts: Prompts, metainfo: dict
    ) -> PromptOutput:
        """Segment and name prompts of one image, all at once: see `PromptedDetector`.

        Raises:
            ValueError: Regions are `'annotated'`, and the prompts have no `annotated_bboxes`.
        """
        regions = self.test_cfg['head_region'], self.test_cfg['clip_region']
        if 'annotated' in regions and len(prompts) and prompts.annotated_bboxes is None:
            raise ValueError(
                "Regions 'annotated' need prompts with annotated_bboxes, such as those of "
                'GTPrompter. Use that, or another region.'
            )
        outputs = self.recognize(features, prompts.scaled(scale_factor_of(metainfo)))
        if not self.recognizes:
            return PromptOutput(outputs.low_res_logits, None)
        probabilities = self.classifier.probabilities(outputs.fused_logits)
        return PromptOutput(outputs.low_res_logits, probabilities)

    # Everything-mode

    @torch.no_grad()
    def propose(self, features: ImageFeatures, points: Prompts) -> tuple[Tensor, Tensor | None]:
        """All candidate masks of N single points of one image.

        Points are in pixels of the network's input, best on the host. There are logits
        `(N, M, h, w)`, and their predicted IoU `(N, M)` or None.
        """
        if self.window_decoder is not None:
            points = points.to(features.embedding.device)
            coords, labels = points.point_coords, points.point_labels
            _, quality, _, logits = self.window_decoder.propose(features.pyramid, coords, labels)
            return logits, quality
        decoded = self.decode_masks(features, points, multimask_output=True)
        return decoded.low_res_logits, decoded.iou_predictions

    def propose_bboxes(
        self, features: ImageFeatures, img_shape: Sequence[int], count: int
    ) -> tuple[Tensor, Tensor]:
        """Boxes of likely objects in one image, and their scores: see `ProposalHead.propose`."""
        maps = features.pyramid[-len(self.proposal_head.strides) :]
        return self.proposal_head.propose(maps, img_shape, count)

    # Training

    def loss(self, batch_inputs: Tensor, batch_data_samples: list[DetDataSample]) -> dict:
        """CLIP2SAM training, or SAM's own without a classifier: see `clip2sam_losses`.

        Raises:
            ValueError: The model has a window decoder.
            RuntimeError: The model was prepared for inference.
        """
        if self.window_decoder is not None:
            raise ValueError('A window decoder is trained by tools/train_photo.py.')
        if self.encoder_dtype is not None:
            raise RuntimeError(
                'This model was prepared for inference and cannot train. Build it again from its '
                'config.'
            )
        return clip2sam_losses(self, self.extract_feat(batch_inputs), batch_data_samples)


def _apply(neck: nn.Module, pyramid: Sequence[Tensor]) -> Tensor | Sequence[Tensor]:
    """A neck on the coarsest maps, as many as it takes."""
    return neck(pyramid[-len(neck.in_channels) :])


def _clip(bboxes: Tensor, size: int) -> Tensor:
    """Boxes clipped to the input; inverted ones become empty, since RoIAlign fails on them."""
    top_left, bottom_right = bboxes.clamp(0, size).split(2, dim=1)
    return torch.cat((top_left, bottom_right.maximum(top_left)), dim=1)
