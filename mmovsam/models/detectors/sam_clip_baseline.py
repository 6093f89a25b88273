"""The naive combination of SAM and CLIP that OVSAM is compared with."""

from __future__ import annotations

import mmcv
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import Tensor

from ...layers.bboxes import bboxes_of_logits
from ...prompts import Prompts
from .crops import MaskCropper
from .features import ImageFeatures
from .instances import enlarge_logits
from .naming import ClassMap
from .prompted_detector import PromptedDetector, PromptOutput, scale_factor_of


@MODELS.register_module()
class SAMCLIPBaseline(PromptedDetector):
    """SAM segments what is prompted, CLIP names the crop (arXiv 2401.02955, baselines).

    Nothing is trained. Prompts and results are those of `OVSAM`.

    Args:
        sam: An `OVSAM` that segments only: SAM's image encoder as backbone, no classifier. The
            baseline takes its `test_cfg`.
        clip: `OpenCLIPBackbone`.
        classifier: `OpenVocabClassifier`, with names by the text tower of `clip`.
        region: CLIP's input for a mask. `'image'`: a crop of the original image around it, each
            encoded by itself. `'feature'`: the last map of the whole image, which is SAM's input,
            pooled over the region as in OVSAM.
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
        sam = MODELS.build(sam)
        super().__init__(classifier, prompter, sam.test_cfg, data_preprocessor, init_cfg)
        if region not in ('image', 'feature'):
            raise ValueError(f"region is {region!r}; choose one of ('image', 'feature').")
        if crop_batch_size < 1:
            raise ValueError(f'crop_batch_size must be at least 1, not {crop_batch_size}.')
        self.sam = sam
        if self.sam.recognizes:
            raise ValueError(
                'The `sam` of SAMCLIPBaseline only segments: leave out its classifier.'
            )
        self.clip = MODELS.build(clip)
        self.region = region
        self.crop_batch_size = crop_batch_size
        self.cropper = MaskCropper(self.clip.image_size, **(crop or {}))

    @property
    def input_size(self) -> int:
        return self.sam.input_size

    @property
    def logit_size(self) -> int:
        return self.sam.logit_size

    def extract_feat(self, batch_inputs: Tensor) -> ImageFeatures:
        """Encode images `(B, 3, S, S)` by SAM and, for region `'feature'`, by CLIP."""
        features = self.sam.extract_feat(batch_inputs)
        if self.region == 'image':
            return features
        return features._replace(stage4=self.clip(batch_inputs)[-1])

    def loss(self, batch_inputs: Tensor, batch_data_samples: list[DetDataSample]) -> dict:
        """Raises a `ValueError`: there is nothing to train."""
        raise ValueError(
            'SAMCLIPBaseline has nothing to train: it is for comparison. Test it with '
            'tools/test.py, and train an OVSAM.'
        )

    def predict_prompts(
        self,
        features: ImageFeatures,
        prompts: Prompts,
        metainfo: dict,
        rescale: bool = True,
        class_map: ClassMap | None = None,
    ) -> InstanceData:
        """Segment and name N prompts of one image: see `PromptedDetector`.

        For region `'image'` the metainfo has the original image, as `ori_img` `(H, W, 3)` uint8
        BGR, or its file as `img_path`.
        """
        if self.region == 'image' and metainfo.get('ori_img') is None:
            if metainfo.get('img_path') is None:
                raise ValueError(
                    "SAMCLIPBaseline with region='image' needs img_path or ori_img in the data "
                    'sample: name it in meta_keys of PackDetInputs.'
                )
            # a new dict, so that the data sample does not keep the image
            metainfo = dict(metainfo, ori_img=mmcv.imread(metainfo['img_path']))
        return super().predict_prompts(features, prompts, metainfo, rescale, class_map)

    def predict_chunk(
        self, features: ImageFeatures, prompts: Prompts, metainfo: dict
    ) -> PromptOutput:
        """Segment and name prompts of one image, all at once: see `PromptedDetector`."""
        logits = self.sam.recognize(features, prompts.scaled(scale_factor_of(metainfo)))[0]
        if len(prompts) == 0:
            embeddings = logits.new_zeros(0, self.clip.embed_dim)
        elif self.region == 'feature':
            bboxes = bboxes_of_logits(logits, self.input_size)
            embeddings = self.clip.embed_regions(features.stage4, bboxes, logits)
        else:
            image = metainfo['ori_img'][..., ::-1]  # RGB
            shapes = metainfo['img_shape'], metainfo['ori_shape']
            embeddings = [
                self.clip.embed_images(self.cropper(image, masks).to(logits.device))
                for enlarged in enlarge_logits(logits, self.input_size, *shapes)
                for masks in (enlarged > 0).split(self.crop_batch_size)
            ]
            embeddings = torch.cat(embeddings)
        clip_logits = self.classifier.logits(embeddings)
        # Fused with themselves the logits stay, but for classes that are excluded.
        visible = torch.ones_like(clip_logits[:, 0], dtype=torch.bool)
        fused_logits = self.classifier.fuse(clip_logits, clip_logits, visible)
        return PromptOutput(logits, self.classifier.probabilities(fused_logits))
