"""Open-Vocabulary SAM as an MMDetection detector."""

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
from ...layers.tensors import joined, of_each
from ...prompts import Prompts, sample_training_prompts
from ...randomness import seeded
from ..heads import OpenVocabClassifier
from ..losses import ImageLabels
from .features import ImageFeatures, RecognitionOutput, RegionEmbeddings
from .prompted_detector import PromptedDetector, PromptOutput, scale_factor_of
from .region_crops import RegionCrops, embed_crops, encode_crops, refine_masks
from .training import TrainedImage, cls_losses, mask_losses
from .window_masks import decode_windows


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
        window_decoder: `WindowDecoder`, which cuts objects out in place of the head's mask decoder;
            it reads the tower's own maps, so there is no prompt encoder and no neck but
            `region_neck`.
        region_namer: `RegionNamer`, in place of the head's own embedding of regions.
        proposal_head: `ProposalHead`, which proposes boxes for everything-mode.
        region_crop: Side in pixels of a crop around each region that is encoded by itself, and
            whose embedding is averaged with that of the image; 0 for none. For a `TimmBackbone`
            with a `region_namer`.
        crop_decoder: `WindowDecoder`, which looks at each mask once more in the region's crop.
        classifier: `OpenVocabClassifier`.
        prompter: Where prompts come from in `predict`: `GTPrompter`, `DetectorPrompter`, ...
        train_cfg: Arguments of `mmovsam.prompts.sample_training_prompts`.
        test_cfg: `chunk_size` (prompts decoded at once; by default 32 on a CPU and 128 elsewhere);
            `names` (`'recognition'`, the default, `'detector'` or `'fused'`), `score`
            (`'recognition'`, `'detector'` or `'geometric'`, the default) and `detector_alpha`
            (0.5), see `LabelFusion`; `bboxes` (`'prompt'`: a prompt's box stays as it is, the
            default, or `'mask'`: the box of the mask); `mask_format` (`'tensor'`, the default, or
            `'rle'`), see `MaskWriter`; `head_region` and `clip_region` (`'mask'`: the box of the
            predicted mask, the default; `'prompt'`: the prompt's box where it has one;
            `'annotated'`: the `annotated_bboxes` of the prompts, even when the prompt is a point,
            as the released evaluation does for `clip_region`, which no honest test can).
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
        parts = dict(neck=neck, region_neck=region_neck, high_res_neck=high_res_neck)
        parts.update(window_decoder=window_decoder, region_namer=region_namer)
        parts.update(proposal_head=proposal_head, crop_decoder=crop_decoder)
        for name, cfg in dict(parts, prompt_encoder=prompt_encoder).items():
            setattr(self, name, MODELS.build(cfg) if cfg else None)
        self.head = MODELS.build(head)
        if (self.window_decoder is None) == (self.prompt_encoder is None):
            raise ValueError('OVSAM has either a prompt_encoder or a window_decoder.')
        neck = self.neck or self.window_decoder
        if self.recognizes and (neck is None or self.region_neck is None):
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
        unknown = set(self.train_cfg) - _TRAIN_KEYS
        if unknown:
            raise ValueError(f'train_cfg has no {sorted(unknown)}; it has {sorted(_TRAIN_KEYS)}.')

    @property
    def recognizes(self) -> bool:
        """Whether predictions have names."""
        return self.classifier is not None and self.head.recognizes

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
            *fine, embedding, stage4 = pyramid
            regions = tuple(_read(self.region_neck, pyramid))
            inputs = batch_inputs if self.region_crop else None
            return ImageFeatures(embedding, stage4, regions, tuple(fine), inputs)
        if self.neck is None:
            return ImageFeatures(pyramid, None, ())
        return ImageFeatures(
            _read(self.neck, pyramid),
            pyramid[-1],
            tuple(_read(self.region_neck, pyramid)) if self.region_neck else (),
            tuple(_read(self.high_res_neck, pyramid)) if self.high_res_neck else (),
        )

    @torch.no_grad()
    def propose(self, features: ImageFeatures, points: Prompts) -> tuple[Tensor, Tensor | None]:
        """Masks that N single points of one image may mean, before any is chosen.

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
        """Boxes of what may be objects in one image, and their scores: see `ProposalHead`.

        Boxes are in pixels of the network's input, on the host; `img_shape` is the image's in it.
        """
        maps = features.pyramid[-len(self.proposal_head.strides) :]
        return self.proposal_head.propose(maps, img_shape, count)

    # Training

    def loss(self, batch_inputs: Tensor, batch_data_samples: list[DetDataSample]) -> dict:
        """CLIP2SAM training, or SAM's own without a classifier.

        Samples have `gt_instances` in pixels of the network's input. There are `loss_mask`,
        `loss_dice` and, with names, `loss_cls`; and for the log `acc`, and parts by source where
        samples have a `source`: see `mask_losses` and `cls_losses`. Objects without masks, such as
        those of image-level labels, have no loss of masks.

        Raises:
            RuntimeError: The model was prepared for inference.
        """
        if self.window_decoder is not None:
            raise ValueError('A window decoder is trained by tools/train_photo.py.')
        if self.encoder_dtype is not None:
            raise RuntimeError(
                'This model was prepared for inference and cannot train. Build it again from its '
                'config.'
            )
        features = self.extract_feat(batch_inputs).images()
        images = []
        for image_features, sample in zip(features, batch_data_samples):
            if len(sample.gt_instances):
                with seeded(sample.get('seed'), batch_inputs.device):
                    images.append(self._train_image(image_features, sample))
        # Some parameters are used by one kind of prompt only: with this each has a gradient in
        # every batch, as distributed training expects.
        zero = sum(p.sum() for p in self.parameters() if p.requires_grad) * 0
        losses = mask_losses(self.head, images, zero)
        if self.recognizes:
            losses.update(cls_losses(self.head, self.classifier, images, zero))
        return losses

    def _train_image(self, features: ImageFeatures, sample: DetDataSample) -> TrainedImage:
        prompts, chosen = sample_training_prompts(sample.gt_instances, **self.train_cfg)
        sample.prompts = prompts  # named if the loss turns out not to be finite
        instances = sample.gt_instances[chosen]
        logits = masks = points = tokens = embeddings = None
        has_masks = 'masks' in instances
        if has_masks or (self.recognizes and self.head.use_label_token):
            logits, _, tokens = self.decode_masks(features, prompts)
        if has_masks:
            masks = to_device(instances.masks.to_tensor(torch.uint8, 'cpu'), logits.device)
            points = self.head.sample_points(logits)
        if self.recognizes:
            bboxes = getattr(instances.bboxes, 'tensor', instances.bboxes)
            embeddings = self.head.embed_regions(features.region_maps, bboxes, tokens)
        labels = sample.gt_instances.labels.tolist()
        about = ImageLabels.of(len(chosen), sample.metainfo, labels)
        source = sample.metainfo.get('source')
        return TrainedImage(source, logits, masks, points, embeddings, instances.labels, about)

    def decode_masks(
        self,
        features: ImageFeatures,
        prompts: Prompts,
        multimask_output: bool = False,
    ) -> DecodedMasks:
        """Masks `(N, M, h, w)` and label tokens `(N, E, C)` of prompts in the network's frame.

        Boxes and single points make equally many tokens, so they are decoded together. Which
        prompts are of which kind is decided on the host.
        """
        if self.window_decoder is not None:
            count = self.masks_per_prompt if multimask_output else 1
            return decode_windows(self.window_decoder, features.pyramid, prompts, count)
        device = features.embedding.device
        batches = {}
        for index, group in self.sorted_prompts(prompts):
            sparse, dense = self.prompt_encoder(group.to(device))
            key = (sparse.shape[1], group.mask_input is None)
            batches.setdefault(key, []).append((index, sparse, dense, self._painted(group, device)))
        image_pe = self.prompt_encoder.dense_pe()
        chosen = slice(1, None) if multimask_output and self.head.num_masks > 1 else slice(0, 1)
        decoded, order = [], []
        for (_, shared), parts in batches.items():
            index, sparse, dense, painted = zip(*parts)
            bboxes, masks = (None if each[0] is None else joined(each) for each in zip(*painted))
            outputs = self.head.decode(
                features.embedding,
                image_pe,
                joined(sparse),
                dense[0] if shared else joined(dense),
                features.high_res_maps,
                bboxes,
                masks,
            )
            iou = None if outputs.iou_predictions is None else outputs.iou_predictions[:, chosen]
            decoded.append((outputs.low_res_logits[:, chosen], iou, outputs.extra_tokens))
            order.extend(index)
        if not order:
            none = features.embedding.new_zeros(0, 1)
            logits = features.embedding.new_zeros(0, 1, self.logit_size, self.logit_size)
            return DecodedMasks(logits, none, none)
        if len(order) == 1:
            return DecodedMasks(*decoded[0])
        back = to_device(torch.cat(order).argsort(), device)
        return DecodedMasks(
            *(None if part[0] is None else torch.cat(part)[back] for part in zip(*decoded))
        )

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

    # Inference

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
        probabilities = None
        if self.recognizes:
            probabilities = self.classifier.probabilities(outputs.fused_logits)
        return PromptOutput(outputs.low_res_logits, probabilities)

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
            prompts: In pixels of the network's input; best on the host, where it is decided what
                the device has to do.
            multimask_output: Whether a prompt gets, in place of the decoder's first mask, its
                others, where it has more than one.
            classifier: Names the masks; None for the model's own.
            decoded: What `decode_masks` says of the prompts, if that is known.

        Returns:
            Of all masks, those of one prompt after those of another.
        """
        decoded = decoded or self.decode_masks(features, prompts, multimask_output)
        count = decoded.low_res_logits.shape[1]  # masks of each prompt
        logits = decoded.low_res_logits.flatten(0, 1)[:, None]
        iou = None if decoded.iou_predictions is None else decoded.iou_predictions.flatten()
        if not self.recognizes:
            return RecognitionOutput(logits, iou, None, None, None)
        classifier = classifier or self.classifier
        if len(prompts) == 0:
            none = logits.new_zeros(0, classifier.num_classes + 1)
            return RecognitionOutput(logits, iou, none, none, none)
        of_masks = bboxes_of_logits(logits, self.input_size)
        kinds = {self.test_cfg[key] for key in ('head_region', 'clip_region')}
        kinds |= {'prompt'} if self.region_crop else set()
        regions = {}
        for kind in kinds:
            given = dict(prompt=prompts.bboxes, annotated=prompts.annotated_bboxes).get(kind)
            if given is not None:
                given = of_each(to_device(given, logits.device), count)
                given = _proper(given, self.input_size)
                given = torch.where(given.isnan(), of_masks, given)
            regions[kind] = of_masks if given is None else given
        crops = None
        if self.region_crop and features.inputs is not None:
            crops = encode_crops(self, features.inputs, regions['prompt'])
        if crops is not None and self.crop_decoder is not None:
            logits = refine_masks(self, crops, prompts, logits, regions['prompt'])
        head_bboxes = regions[self.test_cfg['head_region']]
        clip_bboxes = regions[self.test_cfg['clip_region']]
        tokens = decoded.extra_tokens
        tokens = None if tokens is None else of_each(tokens, count)
        by_head, by_tower = self.embed_views(
            features, crops, head_bboxes, clip_bboxes, tokens, logits
        )
        head_logits, clip_logits = classifier.logits(torch.cat((by_head, by_tower))).chunk(2)
        on_map = F.interpolate(
            logits, features.stage4.shape[-2:], mode='bilinear', align_corners=False
        )
        visible = (on_map > 0).flatten(1).any(1)
        fused = classifier.fuse(head_logits, clip_logits, visible)
        regions = RegionEmbeddings(by_head, by_tower, visible)
        return RecognitionOutput(logits, iou, head_logits, clip_logits, fused, regions)

    def embed_regions(
        self,
        features: ImageFeatures,
        bboxes: Tensor,
        label_tokens: Tensor | None = None,
        by_tower: Tensor | None = None,
    ) -> Tensor:
        """Embeddings `(N, D)` of regions of one image, by what learned names.

        Boxes are `(N, 4)` xyxy in pixels of the network's input; label tokens `(N, 1, C)` are read
        by a head that uses them, and `by_tower` are the tower's embeddings of the same boxes, if
        they are known.
        """
        if self.region_namer is None:
            return self.head.embed_regions(features.region_maps, bboxes, label_tokens)
        if by_tower is None:
            by_tower = self.backbone.embed_regions(features.stage4, bboxes)
        return self.region_namer(
            by_tower,
            self.head.pool_regions(features.region_maps, bboxes),
            bboxes,
            self.input_size,
        )

    def embed_views(
        self,
        features: ImageFeatures,
        crops: RegionCrops | None,
        head_bboxes: Tensor,
        clip_bboxes: Tensor,
        label_tokens: Tensor | None,
        logits: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Embeddings of regions of one image, by what learned names and by the tower.

        Args:
            features: Of the image.
            crops: Around the regions, whose embeddings are added; None for none.
            head_bboxes: `(N, 4)` xyxy in pixels of the network's input.
            clip_bboxes: The same for the tower.
            label_tokens: `(N, 1, C)`, see `embed_regions`.
            logits: `(N, 1, h, w)` of the masks.

        Returns:
            `(N, D)` each.
        """
        by_tower = self.backbone.embed_regions(features.stage4, clip_bboxes, logits)
        # a namer begins with what the tower says of the same boxes
        known = by_tower if head_bboxes is clip_bboxes else None
        by_head = self.embed_regions(features, head_bboxes, label_tokens, known)
        if crops is None:
            return by_head, by_tower
        views = (by_head, by_tower), embed_crops(self, crops, head_bboxes)
        return tuple(
            F.normalize(whole.float(), dim=1) + F.normalize(crop.float(), dim=1)
            for whole, crop in zip(*views)
        )

    @property
    def input_size(self) -> int:
        """Side of the square network input in pixels."""
        return (self.window_decoder or self.prompt_encoder).image_size

    @property
    def predicts_quality(self) -> bool:
        """Whether masks come with their predicted IoU."""
        return bool(self.window_decoder) or self.head.mask_decoder.iou_token is not None

    @property
    def masks_per_prompt(self) -> int:
        """Masks that a prompt has with `multimask_output`: three, or one of a decoder with one."""
        return 3 if self.window_decoder else max(self.head.num_masks - 1, 1)

    @property
    def logit_size(self) -> int:
        """Side of the low-resolution logits, and so of a `mask_input`."""
        if self.window_decoder is not None:
            return self.window_decoder.logit_size
        return self.head.mask_decoder.upscaling * self.prompt_encoder.embedding_side


def _read(neck: nn.Module, pyramid: Sequence[Tensor]) -> Tensor | Sequence[Tensor]:
    """What a neck makes of the coarsest maps, as many as it takes."""
    return neck(pyramid[-len(neck.in_channels) :])


def _proper(bboxes: Tensor, size: int) -> Tensor:
    """Boxes cut off at the input's edge, inverted ones made empty: RoIAlign fails on others."""
    top_left, bottom_right = bboxes.clamp(0, size).split(2, dim=1)
    return torch.cat((top_left, bottom_right.maximum(top_left)), dim=1)


_TRAIN_KEYS = set(inspect.signature(sample_training_prompts).parameters)
_TRAIN_KEYS -= {'gt_instances', 'generator'}
