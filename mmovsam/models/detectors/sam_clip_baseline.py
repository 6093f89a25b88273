"""The naive combination of SAM and CLIP that OVSAM is compared with."""

from __future__ import annotations

import numpy as np
import torch
from mmdet.models.detectors import BaseDetector
from mmdet.registry import MODELS, TRANSFORMS
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import Tensor

from ...prompts import Prompts
from ...vocabulary import TextClassifier
from .crops import MaskCropper
from .instances import enlarge_masks, masks_to_bboxes
from .ovsam import ImageFeatures

REGIONS = ('image', 'feature')


@MODELS.register_module()
class SAMCLIPBaseline(BaseDetector):
    """SAM segments what is prompted, CLIP names what was cut out (arXiv 2401.02955, baselines).

    Nothing in it is trained. It takes the prompts and gives the results of `OVSAM`.

    Args:
        sam: An `OVSAM` that segments only: SAM's image encoder as backbone, no classifier. The
            prompts that it decodes at once, boxes and scores are as its `test_cfg` says.
        clip: `OpenCLIPBackbone`.
        classifier: `OpenVocabClassifier`, with names by the text tower of `clip`.
        region: What CLIP sees of a mask. `'image'`: a crop of the original image around it, each
            encoded by itself. `'feature'`: the last map of the whole image, encoded once, pooled
            over the region as in OVSAM; CLIP's tower then gets SAM's input.
        crop: Settings of `MaskCropper`, for region `'image'`.
        crop_batch_size: Crops that CLIP encodes at once.
        prompter: Where prompts come from: `GTPrompter`, `DetectorPrompter`, ...
        data_preprocessor: `OVSAMDataPreprocessor`.
        init_cfg: MMEngine's initialization.

    Raises:
        ValueError: `region` is unknown, `sam` has names of its own, or a setting is out of range.
    """

    def __init__(
        self,
        sam: dict,
        clip: dict,
        classifier: dict,
        region: str = 'image',
        crop: dict | None = None,
        crop_batch_size: int = 16,
        prompter: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        if region not in REGIONS:
            raise ValueError(f'region is {region!r}; choose one of {REGIONS}.')
        if crop_batch_size < 1:
            raise ValueError(f'crop_batch_size must be at least 1, not {crop_batch_size}.')
        self.sam = MODELS.build(sam)
        if self.sam.recognizes:
            raise ValueError(
                'The `sam` of SAMCLIPBaseline only segments: leave out its classifier.'
            )
        self.clip = MODELS.build(clip)
        self.classifier = MODELS.build(classifier)
        self.prompter = MODELS.build(prompter) if prompter else None
        self.region = region
        self.crop_batch_size = crop_batch_size
        self.cropper = MaskCropper(self.clip.image_size, **(crop or {}))
        self.load_image = TRANSFORMS.build(dict(type='LoadImage'))

    def set_vocabulary(self, classifier: TextClassifier) -> None:
        """Change the vocabulary."""
        self.classifier.set_classifier(classifier)

    def extract_feat(self, batch_inputs: Tensor) -> ImageFeatures:
        """Encode images by SAM and, for region `'feature'`, by CLIP.

        Args:
            batch_inputs: `(B, 3, S, S)`, normalized and padded.
        """
        features = self.sam.extract_feat(batch_inputs)
        if self.region == 'image':
            return features
        return features._replace(stage4=self.clip(batch_inputs)[-1])

    def loss(self, batch_inputs: Tensor, batch_data_samples: list[DetDataSample]) -> dict:
        """There is none.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            'SAMCLIPBaseline has nothing to train: it is for comparison. Test it with '
            'tools/test.py, and train an OVSAM.'
        )

    @torch.no_grad()
    def predict(
        self, batch_inputs: Tensor, batch_data_samples: list[DetDataSample], rescale: bool = True
    ) -> list[DetDataSample]:
        """Prompt each image and fill its `pred_instances`, as `OVSAM.predict` does.

        Args:
            batch_inputs: `(B, 3, S, S)`, normalized and padded.
            batch_data_samples: As for OVSAM; for region `'image'` also with `img_path`, the
                original image's file, or `ori_img`, the image itself as `(H, W, 3)` uint8 BGR,
                which is preferred.
            rescale: See `OVSAM.predict`.

        Raises:
            ValueError: There is no prompter, or no original image to crop.
        """
        if self.prompter is None:
            raise ValueError(
                'SAMCLIPBaseline.predict needs prompts: set model.prompter in the config, for '
                "example dict(type='GTPrompter') or a DetectorPrompter."
            )
        features = self.extract_feat(batch_inputs)
        all_prompts = self.prompter(batch_data_samples)
        results = []
        for index, (sample, prompts) in enumerate(zip(batch_data_samples, all_prompts)):
            image = self._original_image(sample) if self.region == 'image' else None
            prompts = prompts.to(batch_inputs.device)
            step = self.sam.test_cfg['chunk_size']
            chunks = [
                self._predict_chunk(
                    features.image(index),
                    prompts[start : start + step],
                    image,
                    sample.metainfo,
                    rescale,
                )
                for start in range(0, max(len(prompts), 1), step)
            ]
            results.append(InstanceData.cat(chunks))
        return self.add_pred_to_datasample(batch_data_samples, results)

    def _predict_chunk(
        self,
        features: ImageFeatures,
        prompts: Prompts,
        image: np.ndarray | None,
        metainfo: dict,
        rescale: bool,
    ) -> InstanceData:
        found = self.sam.predict_prompts(features, prompts, metainfo, rescale, keep_logits=True)
        mask_logits = found.pop('low_res_logits')[:, None]
        if len(prompts) == 0:
            embeddings = mask_logits.new_zeros(0, self.clip.embed_dim)
        elif self.region == 'feature':
            stride = self.sam.input_size // mask_logits.shape[-1]
            bboxes = masks_to_bboxes(mask_logits[:, 0] > 0).to(mask_logits) * stride
            embeddings = self.clip.embed_regions(features.stage4, bboxes, mask_logits)
        else:
            masks = found.masks
            if not rescale:  # the image to crop is the original one all the same
                shapes = metainfo['img_shape'], metainfo['ori_shape']
                masks = enlarge_masks(mask_logits, self.sam.input_size, *shapes)
            embeddings = self._embed_crops(image, masks)
        clip_logits = self.classifier.logits(embeddings)
        # Fused with itself CLIP's opinion stays what it is, but for classes that are excluded.
        everywhere = torch.ones_like(clip_logits[:, 0], dtype=torch.bool)
        fused_logits = self.classifier.fuse(clip_logits, clip_logits, everywhere)
        self.sam.builder.name(found, fused_logits, prompts, self.classifier)
        return found

    def _embed_crops(self, image: np.ndarray, masks: Tensor) -> Tensor:
        """CLIP's embeddings `(N, D)` of what masks `(N, H, W)` cover, a few crops at a time."""
        return torch.cat(
            [
                self.clip.embed_images(self.cropper(image, part).to(masks.device))
                for part in masks.split(self.crop_batch_size)
            ]
        )

    def _original_image(self, sample: DetDataSample) -> np.ndarray:
        """`(H, W, 3)` uint8 RGB."""
        image = sample.get('ori_img')
        if image is None:
            if sample.get('img_path') is None:
                raise ValueError(
                    "SAMCLIPBaseline with region='image' needs img_path or ori_img in the data "
                    'sample: name it in meta_keys of PackDetInputs.'
                )
            image = self.load_image(dict(img_path=sample.get('img_path')))['img']
        return image[..., ::-1]

    def _forward(
        self, batch_inputs: Tensor, batch_data_samples: list[DetDataSample] | None = None
    ) -> tuple[Tensor, ...]:
        """The network without post-processing: the features of a batch, flat."""
        features = self.extract_feat(batch_inputs)
        rest = () if features.stage4 is None else (features.stage4,)
        return (features.embedding, *rest)
