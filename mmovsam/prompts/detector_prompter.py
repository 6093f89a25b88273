"""Prompts from any MMDetection detector."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from os import PathLike

import torch
from mmdet.registry import MODELS, TRANSFORMS
from mmdet.structures import DetDataSample
from mmdet.utils import get_test_pipeline_cfg
from mmengine.config import Config, ConfigDict
from mmengine.dataset import Compose
from mmengine.logging import print_log
from mmengine.model import BaseModule, revert_sync_batchnorm
from mmengine.registry import DefaultScope
from mmengine.runner import CheckpointLoader

from ..checkpoints.loading import state_dict_of
from ..fileio import find_config
from .prompts import Prompts


def _type_name(transform: Mapping) -> str:
    kind = transform['type']
    return kind.split('.')[-1] if isinstance(kind, str) else kind.__name__


def _as_config(detector: str | PathLike | Mapping) -> ConfigDict:
    """A whole config, with the key `model`, from whatever the user names the detector by."""
    if isinstance(detector, Mapping):
        config = ConfigDict(detector)
        return ConfigDict(model=config) if 'type' in config else config
    return ConfigDict(Config.fromfile(find_config(str(detector))).to_dict())


@MODELS.register_module()
class DetectorPrompter(BaseModule):
    """Prompts OVSAM with the boxes of any MMDetection detector.

    The detector sees the original image through its own test pipeline and data preprocessor, one
    image at a time, so its boxes are those that `mmdet.apis.DetInferencer` returns, clipped to the
    image. It is frozen and always in eval mode. Masks that it may predict are not used.

    Args:
        detector: A whole config or its `model` alone, as a dict; or the name of a config file, or
            one of an installed package such as `'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py'`.
        checkpoint: The detector's weights, read when they are first needed; by default what the
            detector's config says (`load_from`, or `init_cfg` of its model).
        score_thr: Boxes with a lower score are dropped.
        max_per_img: How many boxes an image has at most, the best first.
        pipeline: The detector's test pipeline, where its config does not hold it.
        keep_in_checkpoint: Whether the detector's weights are part of this module's state dict.
            Otherwise they stay out of OVSAM's checkpoints, and loading one does not miss them.

    Raises:
        FileNotFoundError: If a config file or checkpoint does not exist.
        ValueError: If an argument is out of range, the config has no model or no test pipeline, or
            the checkpoint does not fit.
    """

    def __init__(
        self,
        detector: str | PathLike | Mapping,
        checkpoint: str | PathLike | None = None,
        score_thr: float = 0.05,
        max_per_img: int = 100,
        pipeline: Sequence[Mapping] | None = None,
        keep_in_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        if not 0 <= score_thr <= 1:
            raise ValueError(f'score_thr must lie between 0 and 1, got {score_thr}')
        if max_per_img < 1:
            raise ValueError(f'max_per_img must be at least 1, got {max_per_img}')
        config = _as_config(detector)
        if 'model' not in config:
            raise ValueError(
                f'the config of the detector has no model, only {sorted(config)}; '
                'give a whole MMDetection config or the dict of its model'
            )
        self.score_thr = score_thr
        self.max_per_img = max_per_img
        self.keep_in_checkpoint = keep_in_checkpoint
        self.checkpoint = checkpoint or self._own_checkpoint(config)
        with DefaultScope.overwrite_default_scope(config.get('default_scope', 'mmdet')):
            self.pipeline = self._build_pipeline(config if pipeline is None else list(pipeline))
            # In eval mode SyncBN is BN, but it cannot run on a CPU among several processes.
            detector = revert_sync_batchnorm(MODELS.build(config.model))
            self.detector = detector.eval().requires_grad_(False)
        self._ready = False
        self._register_state_dict_hook(self._leave_detector_out)

    @staticmethod
    def _build_pipeline(source: ConfigDict | list) -> Compose:
        if isinstance(source, list):
            steps = source
        elif 'test_dataloader' in source:
            steps = get_test_pipeline_cfg(source)
        elif 'test_pipeline' in source:
            steps = source.test_pipeline
        else:
            raise ValueError(
                'the config of the detector has no test pipeline: give its whole config, or '
                'DetectorPrompter(pipeline=[...])'
            )
        transforms = []
        for step in steps:
            step = dict(step)
            kind = _type_name(step)
            if kind == 'LoadAnnotations':
                continue
            if kind == 'LoadImageFromFile':
                step['type'] = 'mmdet.InferencerLoader'
            transforms.append(TRANSFORMS.build(step))
        return Compose(transforms)

    @staticmethod
    def _own_checkpoint(config: ConfigDict) -> str | None:
        init_cfg = config.model.get('init_cfg')
        if isinstance(init_cfg, Mapping) and init_cfg.get('type') == 'Pretrained':
            return init_cfg['checkpoint']
        return config.get('load_from')

    def train(self, mode: bool = True) -> DetectorPrompter:
        """Sets the mode of this module; the detector stays in eval mode."""
        super().train(mode)
        self.detector.eval()
        return self

    def init_weights(self) -> None:
        """Loads the detector's weights, once."""
        if self._ready:
            return
        self._ready = True
        if self.checkpoint is None:
            print_log(
                'DetectorPrompter has no checkpoint: its boxes are those of a random detector. '
                'Set checkpoint=... in its config.',
                logger='current',
                level=logging.WARNING,
            )
            return
        # MMEngine's loader also downloads from the model zoo's links.
        checkpoint = CheckpointLoader.load_checkpoint(str(self.checkpoint), map_location='cpu')
        try:
            keys = self.detector.load_state_dict(state_dict_of(checkpoint), strict=False)
        except RuntimeError as error:
            first = '\n'.join(str(error).split('\n')[:4])
            raise ValueError(
                f'the checkpoint {self.checkpoint} does not fit the detector; '
                f'is it of another model? {first}'
            ) from error
        missing = [key for key in keys.missing_keys if 'num_batches_tracked' not in key]
        if missing:
            raise ValueError(
                f'the checkpoint {self.checkpoint} lacks {len(missing)} weights of the detector, '
                f'such as {missing[:3]}; is it of another model?'
            )

    @staticmethod
    def _leave_detector_out(module, state_dict, prefix, local_metadata) -> None:
        if not module.keep_in_checkpoint:
            for key in [key for key in state_dict if key.startswith(f'{prefix}detector.')]:
                del state_dict[key]

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs) -> None:
        # Weights that the checkpoint leaves out are filled in from the detector itself, before
        # PyTorch descends into it and looks for them.
        prefix_detector = f'{prefix}detector.'
        if any(key.startswith(prefix_detector) for key in state_dict):
            self._ready = True
        elif not self.keep_in_checkpoint:
            for key, value in self.detector.state_dict().items():
                state_dict[prefix_detector + key] = value
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    @torch.no_grad()
    def forward(self, data_samples: list[DetDataSample]) -> list[Prompts]:
        """What the detector finds in each image.

        Args:
            data_samples: With `img_path`, the original image's file; or `ori_img`, the original
                image itself as a uint8 (H, W, 3) BGR array, which is preferred.

        Returns:
            One `Prompts` an image, in pixels of the original image: `bboxes`, `labels` (in the
            detector's own classes) and `scores`, the best first. Boxes are clipped to the image;
            those that are NaN or have no area inside of it are dropped.

        Raises:
            ValueError: If a data sample has neither `img_path` nor `ori_img`.
        """
        self.init_weights()
        return [self._prompts(data_sample) for data_sample in data_samples]

    def _prompts(self, data_sample: DetDataSample) -> Prompts:
        image = dict(img_id=data_sample.get('img_id', 0))
        if data_sample.get('ori_img') is not None:
            image['img'] = data_sample.get('ori_img')
        elif data_sample.get('img_path') is not None:
            image['img_path'] = data_sample.get('img_path')
        else:
            raise ValueError(
                'DetectorPrompter needs img_path or ori_img in the data sample: name it in '
                'meta_keys of PackDetInputs'
            )
        packed = self.pipeline(image)
        batch = dict(inputs=[packed['inputs']], data_samples=[packed['data_samples']])
        result = self.detector.test_step(batch)[0]
        found = result.pred_instances
        height, width = result.ori_shape[:2]
        bboxes = getattr(found.bboxes, 'tensor', found.bboxes).float()
        wanted = ~(found.scores < self.score_thr)  # also where the score is NaN, to report it
        finite = bboxes.isfinite().all(dim=1) & found.scores.isfinite()
        clipped = bboxes.clone()
        clipped[:, 0::2] = clipped[:, 0::2].clamp(0, width)
        clipped[:, 1::2] = clipped[:, 1::2].clamp(0, height)
        has_area = (clipped[:, 2] > clipped[:, 0]) & (clipped[:, 3] > clipped[:, 1])
        broken, flat = (wanted & ~finite).sum().item(), (wanted & finite & ~has_area).sum().item()
        if broken or flat:
            # A detector that pads its input may well find something in the padding.
            print_log(
                f'DetectorPrompter drops {broken} boxes that are not finite and {flat} without '
                f'area inside the image {data_sample.get("img_path", image["img_id"])}',
                logger='current',
                level=logging.WARNING if broken else logging.DEBUG,
            )
        kept = (wanted & finite & has_area).nonzero()[:, 0]
        best = kept[found.scores[kept].argsort(descending=True, stable=True)[: self.max_per_img]]
        return Prompts(bboxes=clipped[best], labels=found.labels[best], scores=found.scores[best])
