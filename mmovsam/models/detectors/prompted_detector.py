"""What detectors that answer prompts share: ask for prompts, answer them chunk by chunk."""

from __future__ import annotations

from abc import abstractmethod
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from mmdet.models.detectors import BaseDetector
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import Tensor

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
"""Settings of `test_cfg` that are one of several words; the first is the default."""


class PromptOutput(NamedTuple):
    """Masks and names of N prompts of one image, in the network's frame."""

    low_res_logits: Tensor
    """`(N, 1, h, w)`."""
    probabilities: Tensor | None
    """`(N, K)`; None without names."""


class PromptedDetector(BaseDetector):
    """A detector whose instances are the answers to prompts, one each and in their order.

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
        self.classifier = MODELS.build(classifier) if classifier else None
        self.prompter = MODELS.build(prompter) if prompter else None
        self.test_cfg = _checked_test_cfg(test_cfg)
        self._dataset_meta: dict = {}
        naming = ('names', 'score', 'detector_alpha')
        self.label_fusion = LabelFusion(*(self.test_cfg[key] for key in naming))

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
        """Segment and name prompts of one image, in pixels of the original one, all at once.

        They are on the host.
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
        """What labels mean, for MMDetection's inferencer: `classes` are always the vocabulary's."""
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
        """Prompt each image and fill its `pred_instances`, one a prompt and in the prompts' order.

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
        results = []
        for index, (sample, prompts) in enumerate(zip(batch_data_samples, all_prompts)):
            results.append(
                self.predict_prompts(
                    features.image(index), prompts, sample.metainfo, rescale, class_map
                )
            )
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
            class_map: What the labels of the prompts mean.

        Returns:
            See `predict`.
        """
        prompts = prompts.to('cpu')  # where it is decided what the device has to do
        shown = prompts if rescale else prompts.scaled(scale_factor_of(metainfo))
        masks = MaskWriter(
            len(prompts), metainfo, self.input_size, rescale, self.test_cfg['mask_format']
        )
        given = self.test_cfg['bboxes'] == 'prompt' and prompts.bboxes is not None
        boxed = given and bool(prompts.has_bbox.all())
        chunks = []
        step = self.chunk_size
        for start in range(0, max(len(prompts), 1), step):
            chunk = slice(start, start + step)
            output = self.predict_chunk(features, prompts[chunk], metainfo)
            asked = shown[chunk].to(output.low_res_logits.device)
            instances = InstanceData()
            of_masks = masks.add(output.low_res_logits, with_bboxes=not boxed)
            instances.bboxes = asked.bboxes if boxed else self._bboxes(asked, of_masks)
            self.label_fusion(instances, asked, output.probabilities, class_map)
            chunks.append(instances)
        instances = InstanceData.cat(chunks)
        instances.masks = masks.masks
        return instances

    def _forward(
        self, batch_inputs: Tensor, batch_data_samples: list[DetDataSample] | None = None
    ) -> tuple[Tensor, ...]:
        """The network without post-processing: the features of a batch, flat."""
        features = self.extract_feat(batch_inputs)
        rest = () if features.stage4 is None else (features.stage4,)
        return (features.embedding, *rest, *features.region_maps, *features.high_res_maps)

    def _bboxes(self, prompts: Prompts, of_masks: Tensor) -> Tensor:
        if self.test_cfg['bboxes'] == 'mask' or prompts.bboxes is None:
            return of_masks
        return torch.where(prompts.has_bbox[:, None], prompts.bboxes, of_masks)

    def _class_map(self) -> ClassMap | None:
        """What the labels of the prompter's detector mean in the present vocabulary."""
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
        return _matched(tuple(classes), tuple(names))


@lru_cache(maxsize=4)
def _matched(classes: tuple[str, ...], names: tuple[str, ...]) -> ClassMap:
    """A class map; what it lacks is told once for each pair of detector and vocabulary."""
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


def scale_factor_of(metainfo: dict) -> tuple[float, float]:
    """Factors (w, h) from the original image to the network's."""
    return tuple(metainfo.get('scale_factor', (1.0, 1.0)))[:2]


def _checked_test_cfg(test_cfg: dict | None) -> dict:
    settings = {key: choices[0] for key, choices in CHOICES.items()}
    settings.update(chunk_size=None, detector_alpha=0.5)
    unknown = set(test_cfg or {}) - set(settings)
    if unknown:
        raise ValueError(f'test_cfg has no {sorted(unknown)}; it has {sorted(settings)}.')
    settings.update(test_cfg or {})
    for key, choices in CHOICES.items():
        if settings[key] not in choices:
            raise ValueError(f'test_cfg.{key} is {settings[key]!r}; choose one of {choices}.')
    require_at_least(1, **{'test_cfg.chunk_size': settings['chunk_size']})
    require_fraction(**{'test_cfg.detector_alpha': settings['detector_alpha']})
    return settings
