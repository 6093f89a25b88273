"""Base of detectors that are prompted: ask for prompts, answer them chunk by chunk."""

from __future__ import annotations

from abc import abstractmethod
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from mmdet.models.detectors import BaseDetector
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ...logs import warn
from ...prompts import Prompts
from ...validation import require_at_least, require_fraction
from ...vocabulary import TextClassifier
from .instances import MASK_FORMATS, MaskWriter
from .naming import NAMES, SCORES, ClassMap, LabelFusion

CHOICES = dict(
    names=NAMES,
    score=SCORES,
    bboxes=('prompt', 'mask'),
    mask_format=MASK_FORMATS,
    head_region=('mask', 'prompt', 'annotated'),
    clip_region=('mask', 'prompt', 'annotated'),
)
"""Choices of settings of `test_cfg`; the first is the default."""


class PromptOutput(NamedTuple):
    """Masks and names of N prompts of one image, in the network's frame."""

    low_res_logits: Tensor
    """`(N, 1, h, w)`."""
    probabilities: Tensor | None
    """`(N, K)`; None without names."""


class PromptedDetector(BaseDetector):
    """A detector with one instance for each prompt, in the prompts' order.

    Args:
        classifier: `OpenVocabClassifier`; None to segment only.
        prompter: Where prompts come from in `predict`.
        test_cfg: See `OVSAM`.
        data_preprocessor: `OVSAMDataPreprocessor`.
        init_cfg: MMEngine's initialization.

    Raises:
        ValueError: A setting of `test_cfg` is unknown or out of range.
    """

    def __init__(
        self,
        classifier: dict | None,
        prompter: dict | None,
        test_cfg: dict | None,
        data_preprocessor: dict | None,
        init_cfg: dict | None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        self.classifier = build_optional(classifier)
        self.prompter = build_optional(prompter)
        self.test_cfg = _checked_test_cfg(test_cfg)
        self._dataset_meta: dict = {}
        self.label_fusion = LabelFusion(
            self.test_cfg['names'], self.test_cfg['score'], self.test_cfg['detector_alpha']
        )

    @property
    @abstractmethod
    def input_size(self) -> int:
        """Side of the square network input in pixels."""

    @property
    @abstractmethod
    def logit_size(self) -> int:
        """Side of the low-resolution logits, and so of a `mask_input`."""

    @abstractmethod
    def predict_chunk(self, features: Any, prompts: Prompts, metainfo: dict) -> PromptOutput:
        """Segment and name prompts of one image, all at once.

        Prompts are on the host, in pixels of the original image.
        """

    @property
    def chunk_size(self) -> int:
        """Prompts that are decoded at once."""
        on_cpu = self.data_preprocessor.device.type == 'cpu'
        return self.test_cfg['chunk_size'] or (32 if on_cpu else 128)

    def set_vocabulary(self, classifier: TextClassifier) -> None:
        """Change the vocabulary; features of images stay valid."""
        if self.classifier is None:
            raise ValueError('This model segments only: it was built without a classifier.')
        self.classifier.set_classifier(classifier)

    @property
    def dataset_meta(self) -> dict:
        """For MMDetection's inferencer: `classes` are those of the present vocabulary."""
        if self.classifier is not None and self.classifier.has_vocabulary:
            self._dataset_meta['classes'] = self.classifier.class_names
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, value: dict) -> None:
        self._dataset_meta = dict(value)

    @torch.no_grad()
    def predict(
        self, batch_inputs: Tensor, batch_data_samples: list[DetDataSample], rescale: bool = True
    ) -> list[DetDataSample]:
        """Prompt each image and fill its `pred_instances`, one for each prompt, in their order.

        Args:
            batch_inputs: `(B, 3, S, S)`, normalized and padded.
            batch_data_samples: With `img_shape`, `ori_shape`, `scale_factor`, and what the
                prompter reads.
            rescale: Masks and boxes at the size of the original image (the default) or of the
                network's image.

        Returns:
            The samples; `pred_instances` has `bboxes`, `scores`, `labels`, `masks`, and with names
            `topk_labels` and `topk_scores` `(N, 5)`.

        Raises:
            ValueError: The model was built without a prompter, or names are to come from the
                detector and it has none that the vocabulary has.
        """
        if self.prompter is None:
            raise ValueError(
                f'{type(self).__name__}.predict needs prompts: set model.prompter in the config, '
                "for example dict(type='GTPrompter') or a DetectorPrompter, or use "
                'mmovsam.apis.OVSAMPredictor.'
            )
        class_map = self._class_map()
        features = self.extract_feat(batch_inputs)
        all_prompts = self.prompter(batch_data_samples)
        results = [
            self.predict_prompts(
                features.image(index), prompts, sample.metainfo, rescale, class_map
            )
            for index, (sample, prompts) in enumerate(zip(batch_data_samples, all_prompts))
        ]
        return self.add_pred_to_datasample(batch_data_samples, results)

    @torch.no_grad()
    def predict_prompts(
        self,
        features: Any,
        prompts: Prompts,
        metainfo: dict,
        rescale: bool = True,
        class_map: ClassMap | None = None,
    ) -> InstanceData:
        """Segment and name N prompts of one image, chunk by chunk.

        Args:
            features: Of this image, from `extract_feat`.
            prompts: In pixels of the original image.
            metainfo: `img_shape`, `ori_shape` and, where they differ, `scale_factor` (w, h).
            rescale: See `predict`.
            class_map: From labels of the prompts to the vocabulary.

        Returns:
            See `predict`.
        """
        prompts = prompts.to('cpu')  # branching on them must not wait for the device
        output_prompts = prompts if rescale else prompts.scaled(scale_factor_of(metainfo))
        writer = MaskWriter(
            len(prompts), metainfo, self.input_size, rescale, self.test_cfg['mask_format']
        )
        keep_bboxes = self.test_cfg['bboxes'] == 'prompt' and prompts.bboxes is not None
        all_boxes = keep_bboxes and bool(prompts.has_bbox.all())
        chunks = []
        step = self.chunk_size
        for start in range(0, max(len(prompts), 1), step):
            rows = slice(start, start + step)
            output = self.predict_chunk(features, prompts[rows], metainfo)
            chunk = output_prompts[rows].to(output.low_res_logits.device)
            bboxes = writer.add(output.low_res_logits, with_bboxes=not all_boxes)
            if all_boxes:
                bboxes = chunk.bboxes
            elif keep_bboxes:
                bboxes = torch.where(chunk.has_bbox[:, None], chunk.bboxes, bboxes)
            instances = InstanceData(bboxes=bboxes)
            self.label_fusion(instances, chunk, output.probabilities, class_map)
            chunks.append(instances)
        instances = InstanceData.cat(chunks)
        instances.masks = writer.masks
        return instances

    def _forward(
        self, batch_inputs: Tensor, batch_data_samples: list[DetDataSample] | None = None
    ) -> tuple[Tensor, ...]:
        """The network without post-processing: the features of a batch, flat."""
        features = self.extract_feat(batch_inputs)
        stage4 = () if features.stage4 is None else (features.stage4,)
        return (features.embedding, *stage4, *features.region_maps, *features.high_res_maps)

    def _class_map(self) -> ClassMap | None:
        """From the classes of the prompter's detector to the present vocabulary."""
        if self.classifier is None or self.label_fusion.names == 'recognition':
            return None
        classes = getattr(self.prompter, 'classes', None)
        if not classes:
            raise ValueError(
                'test_cfg asks for the names of a detector, and '
                f'{type(self.prompter).__name__} has none. Give it classes=[...], or leave the '
                'names to recognition.'
            )
        names = self.classifier.class_names
        if not names:
            raise ValueError(
                'test_cfg asks for the names of a detector, and the vocabulary came without names '
                'to compare them with. Build it with tools/build_vocabulary.py, which keeps them.'
            )
        return _match_classes(tuple(classes), tuple(names))


@lru_cache(maxsize=4)
def _match_classes(classes: tuple[str, ...], names: tuple[str, ...]) -> ClassMap:
    """A class map; warns of missing classes once for each pair of detector and vocabulary."""
    class_map = ClassMap(classes, names)
    if len(class_map.missing) == len(classes):
        raise ValueError(
            f'None of the {len(classes)} classes of the detector, such as {classes[:3]}, is in the '
            f'vocabulary of {len(names)} names, such as {names[:3]}. Give the prompter '
            "classes=[...] with the vocabulary's names, or leave the names to recognition."
        )
    if class_map.missing:
        warn(
            f'{len(class_map.missing)} of the {len(classes)} classes of the detector are not in '
            f'the vocabulary, such as {class_map.missing[:5]}: what it gives these names gets a '
            'name by recognition.'
        )
    return class_map


def build_optional(cfg: dict | None) -> nn.Module | None:
    """Build a part of a model that it may lack."""
    return MODELS.build(cfg) if cfg else None


def scale_factor_of(metainfo: dict) -> tuple[float, float]:
    """Factors (w, h) from the original image to the network's."""
    return tuple(metainfo.get('scale_factor', (1.0, 1.0)))[:2]


def _checked_test_cfg(test_cfg: dict | None) -> dict:
    settings = {key: choices[0] for key, choices in CHOICES.items()}
    settings.update(chunk_size=None, detector_alpha=0.5)
    test_cfg = test_cfg or {}
    unknown = set(test_cfg) - set(settings)
    if unknown:
        raise ValueError(f'test_cfg has no {sorted(unknown)}; it has {sorted(settings)}.')
    settings.update(test_cfg)
    for key, choices in CHOICES.items():
        if settings[key] not in choices:
            raise ValueError(f'test_cfg.{key} is {settings[key]!r}; choose one of {choices}.')
    require_at_least(1, **{'test_cfg.chunk_size': settings['chunk_size']})
    require_fraction(**{'test_cfg.detector_alpha': settings['detector_alpha']})
    return settings
