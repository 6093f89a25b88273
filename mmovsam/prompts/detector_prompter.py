"""Prompts from any detector of MMDetection."""

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

_UNUSED = re.compile(r'num_batches_tracked$|(^|\.)loss_')  # not read in inference


@MODELS.register_module()
class DetectorPrompter(Prompter):
    """Prompts OVSAM with the boxes of any MMDetection detector.

    The detector runs on the original image with its own test pipeline and data preprocessor, in
    batches of images of equal size, so its boxes are those of `mmdet.apis.DetInferencer`. It is
    frozen, always in eval mode, and keeps its precision whatever OVSAM is converted to and whether
    OVSAM runs under autocast. Only its boxes are used.

    Data samples need `img_path`, the original image's file, or `ori_img`, the original image as a
    uint8 (H, W, 3) BGR array, which is preferred. The prompts have `bboxes`, `labels` (in the
    detector's classes) and `scores`, the best first. Boxes are clipped to the image; those that are
    NaN or have no area inside it are dropped.

    Args:
        detector: A whole config or its `model` alone, as a dict; or a config file, or one of an
            installed package such as `'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py'`; or a name or
            alias in MMDetection's index, such as `'rtmdet_tiny_8xb32-300e_coco'`.
        checkpoint: The detector's weights, loaded at first use; by default those of MMDetection's
            index, of the model's `init_cfg`, or `load_from` of the config.
        score_thr: Lowest score of a box.
        max_per_img: Maximum number of boxes an image, the best.
        pipeline: The detector's test pipeline, if its config has none.
        classes: Names of the detector's labels, or a text file with one on each line; by default
            those in its checkpoint or else its config.
        filter: More arguments of `PromptFilter`, which override `score_thr` and `max_per_img`.

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
            # in eval mode SyncBN is BN, but it cannot run on a CPU among several processes
            detector = revert_sync_batchnorm(MODELS.build(config.model))
            # no submodule: checkpoints, conversions and optimizers of OVSAM do not see it
            vars(self)['detector'] = detector.eval().requires_grad_(False)
            names = config_classes(config) if classes is None else given_classes(classes)
        agnostic = isinstance(detector, RPN)  # though its dataset has classes
        self._classes = None if agnostic and classes is None else names
        self._classes_final = agnostic or classes is not None
        self._initialized = False

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Names of the detector's labels, which may be in its checkpoint.

        None if they are unknown, and for a region proposal network, whose labels are all 0.
        """
        if not self._classes_final:
            self.init_weights()
        return self._classes

    def init_weights(self) -> None:
        """Load the detector's weights, once."""
        if self._initialized:
            return
        if self.checkpoint is None:
            warn(
                'DetectorPrompter has no checkpoint: its boxes are those of a random detector. '
                'Set checkpoint=... in its config.'
            )
        else:
            # MMEngine's loader also downloads from the model zoo
            with safe_loading():
                checkpoint = CheckpointLoader.load_checkpoint(str(self.checkpoint), 'cpu')
            self._load(state_dict_of(checkpoint))
            if not self._classes_final:
                self._classes = checkpoint_classes(checkpoint) or self._classes
        self._initialized = True

    def _load(self, state_dict: dict[str, Tensor]) -> None:
        # keys are compared after loading: MMDetection's modules rename old ones while they load,
        # and an RPN takes those of a two-stage detector
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
        # all moves and conversions of PyTorch come through here: the detector is only moved
        def move(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        self.detector._apply(move, *args, **kwargs)
        return super()._apply(fn, *args, **kwargs)

    @torch.no_grad()
    def forward(self, data_samples: list[DetDataSample]) -> list[Prompts]:
        """The filtered detections of each image, see `Prompter.forward`."""
        self.init_weights()
        results = self._detect(data_samples)
        return [self.filter(self._to_prompts(*pair)) for pair in zip(data_samples, results)]

    def prompts_of(self, data_sample: DetDataSample) -> Prompts:
        """The detections of one image, before the filter, the best first."""
        return self._to_prompts(data_sample, *self._detect([data_sample]))

    def _to_prompts(self, data_sample: DetDataSample, result: DetDataSample) -> Prompts:
        name = _name(data_sample)
        bboxes, scores, labels = _detections(result, type(self.detector).__name__)
        clipped, has_area = clip_boxes(bboxes, _ori_shape(result, data_sample, name))
        finite = bboxes.isfinite().all(dim=1) & scores.isfinite()
        broken, flat = (~finite).sum().item(), (finite & ~has_area).sum().item()
        if broken or flat:
            # boxes in the padding of the input are nothing unusual
            print_log(
                f'DetectorPrompter drops {broken} boxes that are not finite and {flat} without '
                f'area inside the image {name}',
                logger='current',
                level=logging.WARNING if broken else logging.DEBUG,
            )
        indices = (finite & has_area).nonzero()[:, 0]
        indices = indices[scores[indices].argsort(descending=True, stable=True)]
        labels = None if labels is None else labels[indices]
        return Prompts(bboxes=clipped[indices], labels=labels, scores=scores[indices])

    def _detect(self, data_samples: list[DetDataSample]) -> list[DetDataSample]:
        """Run the detector in batches of images of equal size, which need no padding."""
        device = next(self.detector.parameters(), torch.empty(0)).device
        if self.detector.data_preprocessor.device != device:  # OVSAM was moved
            self.detector.to(device)
        inputs = [self._preprocess(data_sample) for data_sample in data_samples]
        by_shape, results = defaultdict(list), {}
        for index, item in enumerate(inputs):
            by_shape[item['inputs'].shape].append(index)
        for indices in by_shape.values():
            keys = ('inputs', 'data_samples')
            batch = {key: [inputs[index][key] for index in indices] for key in keys}
            with torch.autocast(device.type, enabled=False):
                results.update(zip(indices, self.detector.test_step(batch)))
        return [results[index] for index in range(len(inputs))]

    def _preprocess(self, data_sample: DetDataSample) -> dict:
        """Run the detector's test pipeline on an image."""
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


def _detections(result: DetDataSample, detector: str) -> tuple[Tensor, Tensor, Tensor | None]:
    """Boxes (N, 4) and scores (N,) as float32, and labels (N,) or None, on the CPU."""
    instances = result.pred_instances if 'pred_instances' in result else {}
    bboxes, scores = instances.get('bboxes'), instances.get('scores')
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
    bboxes, scores, labels = bboxes.float().cpu(), scores.float().cpu(), instances.get('labels')
    masks = instances.get('masks')
    if isinstance(masks, Tensor) and len(masks) and not bboxes.any():
        bboxes = mask2bbox(masks.bool()).cpu()  # SOLO predicts masks alone
    return bboxes, scores, None if labels is None else labels.cpu()


def _ori_shape(result: DetDataSample, data_sample: DetDataSample, name: str) -> tuple:
    """(H, W) of the original image, on which the detector's and the dataset's loaders agree."""
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
