"""Prompts from any MMDetection detector."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from os import PathLike

import torch
from mmdet.models.detectors import RPN
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import mask2bbox
from mmengine.logging import print_log
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DefaultScope
from mmengine.runner import CheckpointLoader
from torch import Tensor

from ..checkpoints.loading import safe_loading, state_dict_of
from ..logs import warn
from .boxes import clip_boxes
from .detectors import (
    checkpoint_classes,
    config_classes,
    detector_config,
    given_classes,
    inference_pipeline,
)
from .prompter import Prompter
from .prompts import Prompts

_UNUSED = re.compile(r'num_batches_tracked$|(^|\.)loss_')  # what detecting does not read


@MODELS.register_module()
class DetectorPrompter(Prompter):
    """Prompts OVSAM with the boxes of any MMDetection detector.

    The detector sees the original image through its own test pipeline and data preprocessor, all
    images at once that have the same size then, so its boxes are those that
    `mmdet.apis.DetInferencer` returns, clipped to the image. It is frozen, always in eval mode, and
    keeps its precision whatever OVSAM is converted to and whether OVSAM runs under autocast. Masks
    and keypoints that it may predict are not used.

    Data samples need `img_path`, the original image's file; or `ori_img`, the original image
    itself as a uint8 (H, W, 3) BGR array, which is preferred. The prompts have `bboxes`, `labels`
    (in the detector's own classes) and `scores`, the best first. Boxes are clipped to the image;
    those that are NaN or have no area inside of it are dropped.

    Args:
        detector: A whole config or its `model` alone, as a dict; or the name of a config file, or
            one of an installed package such as `'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py'`;
            or a name or alias in MMDetection's index, such as `'rtmdet_tiny_8xb32-300e_coco'`.
        checkpoint: The detector's weights, read when they are first needed; by default those of
            MMDetection's index, or what the detector's config says (`init_cfg` of its model, or
            `load_from`).
        score_thr: Boxes with a lower score are dropped.
        max_per_img: How many boxes an image has at most, the best first.
        pipeline: The detector's test pipeline, where its config does not hold it.
        classes: What the detector's labels are called, as names or a text file with one on each
            line; by default what its checkpoint or else its config says.
        filter: More arguments of `PromptFilter`; `score_thr` and `max_per_img` in it count before
            those above.

    Raises:
        FileNotFoundError: If a config file or checkpoint does not exist.
        ValueError: If an argument is out of range, the config has no model or no test pipeline,
            the checkpoint does not fit, a data sample has no image, or the detector returns no
            upright boxes.
    """

    def __init__(
        self,
        detector: str | PathLike | Mapping,
        checkpoint: str | PathLike | None = None,
        score_thr: float = 0.05,
        max_per_img: int = 100,
        pipeline: Sequence[Mapping] | None = None,
        classes: str | PathLike | Sequence[str] | None = None,
        filter: Mapping | None = None,
    ) -> None:
        limits = dict(score_thr=score_thr, max_per_img=max_per_img)
        super().__init__({**limits, **(filter or {})})
        config, default_checkpoint = detector_config(detector)
        self.checkpoint = checkpoint or default_checkpoint
        with DefaultScope.overwrite_default_scope(config.get('default_scope', 'mmdet')):
            self.pipeline = inference_pipeline(config, pipeline)
            # In eval mode SyncBN is BN, but it cannot run on a CPU among several processes.
            built = revert_sync_batchnorm(MODELS.build(config.model))
            # no submodule: checkpoints, conversions and optimizers of OVSAM do not see it
            vars(self)['detector'] = built.eval().requires_grad_(False)
            named = config_classes(config) if classes is None else given_classes(classes)
        agnostic = isinstance(self.detector, RPN)  # though its data set has classes
        self._classes = None if agnostic and classes is None else named
        self._classes_final = agnostic or classes is not None
        self._ready = False

    @property
    def classes(self) -> tuple[str, ...] | None:
        """What the detector's labels are called; its checkpoint is read for it if need be.

        None where neither the checkpoint nor the config says it, and for a region proposal
        network, whose labels are all 0.
        """
        if not self._classes_final:
            self.init_weights()
        return self._classes

    def init_weights(self) -> None:
        """Loads the detector's weights, once."""
        if self._ready:
            return
        if self.checkpoint is None:
            warn(
                'DetectorPrompter has no checkpoint: its boxes are those of a random detector. '
                'Set checkpoint=... in its config.'
            )
        else:
            # MMEngine's loader also downloads from the model zoo's links.
            with safe_loading():
                checkpoint = CheckpointLoader.load_checkpoint(str(self.checkpoint), 'cpu')
            self._load(state_dict_of(checkpoint))
            if not self._classes_final:
                self._classes = checkpoint_classes(checkpoint) or self._classes
        self._ready = True

    def _load(self, state_dict: dict[str, Tensor]) -> None:
        # Names are compared after loading, not before: MMDetection's modules rename older ones
        # while they load, and an RPN takes those of a two-stage detector.
        try:
            keys = self.detector.load_state_dict(state_dict, strict=False)
        except RuntimeError as error:
            first = '\n'.join(str(error).split('\n')[:4])
            raise ValueError(
                f'the checkpoint {self.checkpoint} does not fit the detector; another one? {first}'
            ) from error
        missing = [key for key in keys.missing_keys if not _UNUSED.search(key)]
        if missing:
            raise ValueError(
                f'the checkpoint {self.checkpoint} lacks {len(missing)} weights of the detector, '
                f'such as {missing[:3]}; is it of another model?'
            )

    def _apply(self, fn: Callable[[Tensor], Tensor], *args, **kwargs) -> DetectorPrompter:
        # All of PyTorch's moves and conversions come through here: the detector is only moved.
        def move(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        self.detector._apply(move, *args, **kwargs)
        return super()._apply(fn, *args, **kwargs)

    def _settle(self) -> torch.device:
        """The detector's device, which its data preprocessor may not have noted yet."""
        device = next(self.detector.parameters(), torch.empty(0)).device
        if self.detector.data_preprocessor.device != device:
            self.detector.to(device)
        return device

    @torch.no_grad()
    def forward(self, data_samples: list[DetDataSample]) -> list[Prompts]:
        """What the detector finds in each image: see `Prompter.forward`."""
        self.init_weights()
        results = self._detect(data_samples)
        return [self.filter(self._prompts(*each)) for each in zip(data_samples, results)]

    def prompts_of(self, data_sample: DetDataSample) -> Prompts:
        """All that the detector finds in one image, the best first."""
        return self._prompts(data_sample, *self._detect([data_sample]))

    def _prompts(self, data_sample: DetDataSample, result: DetDataSample) -> Prompts:
        name = _name(data_sample)
        bboxes, scores, labels = _found(result, type(self.detector).__name__)
        clipped, has_area = clip_boxes(bboxes, _ori_shape(result, data_sample, name))
        finite = bboxes.isfinite().all(dim=1) & scores.isfinite()
        broken, flat = (~finite).sum().item(), (finite & ~has_area).sum().item()
        if broken or flat:
            # A detector that pads its input may well find something in the padding.
            print_log(
                f'DetectorPrompter drops {broken} boxes that are not finite and {flat} without '
                f'area inside the image {name}',
                logger='current',
                level=logging.WARNING if broken else logging.DEBUG,
            )
        kept = (finite & has_area).nonzero()[:, 0]
        best = kept[scores[kept].argsort(descending=True, stable=True)]
        labels = None if labels is None else labels[best]
        return Prompts(bboxes=clipped[best], labels=labels, scores=scores[best])

    def _detect(self, data_samples: list[DetDataSample]) -> list[DetDataSample]:
        """What the detector returns; images of different sizes would pad each other."""
        packed = [self._packed(data_sample) for data_sample in data_samples]
        alike, results = defaultdict(list), {}
        for index, item in enumerate(packed):
            alike[item['inputs'].shape].append(index)
        for indices in alike.values():
            names = ('inputs', 'data_samples')
            batch = {name: [packed[index][name] for index in indices] for name in names}
            with torch.autocast(self._settle().type, enabled=False):
                results.update(zip(indices, self.detector.test_step(batch)))
        return [results[index] for index in range(len(packed))]

    def _packed(self, data_sample: DetDataSample) -> dict:
        """An image in the form of the detector's input."""
        keys = [key for key in ('ori_img', 'img_path') if data_sample.get(key) is not None]
        if not keys:
            raise ValueError(
                'DetectorPrompter needs img_path or ori_img: name it in meta_keys of PackDetInputs'
            )
        image = {keys[0].removeprefix('ori_'): data_sample.get(keys[0])}
        packed = self.pipeline(dict(image, img_id=data_sample.get('img_id', 0)))
        if packed is None:
            raise ValueError(
                f"the detector's test pipeline gives nothing for the image {_name(data_sample)}"
            )
        return packed


def _name(data_sample: DetDataSample) -> str:
    return data_sample.get('img_path') or f'with img_id {data_sample.get("img_id")}'


def _found(result: DetDataSample, detector: str) -> tuple[Tensor, Tensor, Tensor | None]:
    """Boxes (N, 4) and scores (N,) as float32 and, where there are some, labels (N,).

    They come to the host, where it is decided which of them become prompts.
    """
    found = result.pred_instances if 'pred_instances' in result else {}
    bboxes, scores = found.get('bboxes'), found.get('scores')
    if bboxes is None or scores is None:
        raise ValueError(
            f'{detector} returns no pred_instances with bboxes and scores: it has to find boxes'
        )
    bboxes = getattr(bboxes, 'tensor', bboxes)
    if bboxes.ndim != 2 or bboxes.shape[1] != 4:
        raise ValueError(
            f'{detector} returns boxes of shape {tuple(bboxes.shape)}, expected (N, 4), upright '
            'xyxy; detectors of rotated boxes cannot prompt'
        )
    bboxes, scores, labels = bboxes.float().cpu(), scores.float().cpu(), found.get('labels')
    masks = found.get('masks')
    if isinstance(masks, Tensor) and len(masks) and not bboxes.any():
        bboxes = mask2bbox(masks.bool()).cpu()  # SOLO finds masks alone
    return bboxes, scores, None if labels is None else labels.cpu()


def _ori_shape(result: DetDataSample, data_sample: DetDataSample, name: str) -> tuple:
    """(H, W) of the original image, as the detector's loader and the data set's both see it."""
    expected = data_sample.get('ori_shape')
    ori_shape = result.get('ori_shape', expected)
    if ori_shape is None:
        raise ValueError(
            f'the detector does not say how large the image {name} is: name ori_shape in '
            'meta_keys of the last step of its test pipeline'
        )
    if expected is not None and tuple(expected[:2]) != tuple(ori_shape[:2]):
        raise ValueError(
            f'the detector reads image {name} as {ori_shape[1]}x{ori_shape[0]} pixels and '
            f'the data set as {expected[1]}x{expected[0]}; give the LoadImageFromFile of both '
            'pipelines the same color_type and imdecode_backend'
        )
    return ori_shape
