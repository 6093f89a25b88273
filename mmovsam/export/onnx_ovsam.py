"""An export as a detector of MMDetection, so that its tools can test it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from torch import Tensor

from ..models.detectors.prompted_detector import PromptedDetector, PromptOutput, scale_factor_of
from ..prompts import Prompts
from ..vocabulary import TextClassifier
from .onnx_model import PROVIDERS, ONNXModel
from .vocabulary import VocabularyArrays


class ONNXFeatures(list):
    """The exported encoder's outputs by name, for each image of a batch."""

    def image(self, index: int) -> dict[str, np.ndarray]:
        """The outputs of one image."""
        return self[index]


@MODELS.register_module()
class ONNXOVSAM(PromptedDetector):
    """An exported OVSAM in onnxruntime.

    Args:
        init_cfg: `dict(type='Pretrained', checkpoint='<folder>/model.json')`, the export.
        precision: See `ONNXModel`, as for `num_threads` and `providers`.
        prompter: Source of the prompts in `predict`.
        test_cfg: See `OVSAM`; regions are always those of the masks.
        data_preprocessor: That of the exported model.
    """

    def __init__(
        self,
        init_cfg: dict,
        precision: str = 'float32',
        num_threads: int = 0,
        providers: Sequence[str] = PROVIDERS,
        prompter: dict | None = None,
        test_cfg: dict | None = None,
        data_preprocessor: dict | None = None,
    ) -> None:
        exported = ONNXModel(init_cfg['checkpoint'], precision, num_threads, providers)
        named = exported.vocabulary is not None
        classifier = dict(type='OpenVocabClassifier') if named else None
        super().__init__(classifier, prompter, test_cfg, data_preprocessor, init_cfg)
        self.exported = exported
        if named:
            self.set_vocabulary(exported.vocabulary.classifier)

    def init_weights(self) -> None:
        """Do nothing: the weights are part of the export."""

    def set_vocabulary(self, classifier: TextClassifier) -> None:
        """Change the vocabulary; features of images stay valid."""
        super().set_vocabulary(classifier)
        self.exported.vocabulary = VocabularyArrays.from_classifier(classifier)

    @property
    def input_size(self) -> int:
        """Side of the square network input in pixels."""
        return self.exported.settings['image_size']

    @property
    def logit_size(self) -> int:
        """Side of the low-resolution logits."""
        return self.exported.settings['logit_size']

    def extract_feat(self, batch_inputs: Tensor) -> ONNXFeatures:
        """Encode images `(B, 3, S, S)`, normalized and padded, one by one."""
        images = batch_inputs.cpu().numpy()
        return ONNXFeatures(self.exported.encode(image[None]) for image in images)

    def predict_chunk(
        self, features: dict[str, np.ndarray], prompts: Prompts, metainfo: dict
    ) -> PromptOutput:
        """Segment and name all prompts of one image, see `PromptedDetector`."""
        scaled = prompts.scaled(scale_factor_of(metainfo))
        outputs = self.exported.decode(features, scaled, metainfo['img_shape'])
        logits, _, *probabilities = map(torch.from_numpy, outputs)
        return PromptOutput(logits, probabilities[0] if probabilities else None)

    def loss(self, batch_inputs: Tensor, batch_data_samples: list[DetDataSample]) -> dict:
        """Not supported: raises a `ValueError`."""
        raise ValueError('An export cannot be trained: train the OVSAM, and export it again.')

    def _forward(
        self, batch_inputs: Tensor, batch_data_samples: list[DetDataSample] | None = None
    ) -> tuple[Tensor, ...]:
        """The encoder's outputs of the first image, flat."""
        return tuple(map(torch.from_numpy, self.extract_feat(batch_inputs)[0].values()))
