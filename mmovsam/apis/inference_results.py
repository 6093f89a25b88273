"""Instances of an image on their way to pictures and JSON."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import encode_mask_results
from mmengine.structures import InstanceData
from torch import Tensor

from ..models.detectors.run_lengths import decode_runs


def no_instances(error: Exception) -> DetDataSample:
    """The result for an image that could not be read.

    Args:
        error: The reason; its text is the metainfo `error`.
    """
    sample = DetDataSample(metainfo=dict(error=str(error)))
    sample.pred_instances = InstanceData(
        labels=torch.zeros(0, dtype=torch.long),
        scores=torch.zeros(0),
        bboxes=torch.zeros(0, 4),
        masks=torch.zeros(0, 0, 0, dtype=torch.bool),
    )
    return sample


def run_lengths(masks: Tensor | list[dict]) -> list[dict]:
    """Masks as COCO's JSON has them.

    Args:
        masks: `(N, H, W)` bool, or run-length encodings as pycocotools has them.

    Returns:
        N run-length encodings, `counts` as text.
    """
    if isinstance(masks, Tensor):
        masks = encode_mask_results(masks.cpu().numpy())
    return [dict(mask, counts=mask['counts'].decode()) for mask in masks]


def drawable(sample: DetDataSample, score_thr: float) -> DetDataSample:
    """A sample whose masks are no run-length encodings.

    Args:
        sample: With `pred_instances` and `ori_shape`.
        score_thr: Only instances with a higher score are decoded and kept.
    """
    found = sample.pred_instances
    if isinstance(found.masks, Tensor):
        return sample
    shown = found[found.scores > score_thr]
    shown.masks = torch.from_numpy(decode_runs(shown.masks, sample.ori_shape))
    return DetDataSample(pred_instances=shown)


def picture_file(picture: np.ndarray, suffix: str) -> bytes:
    """A picture in a file format.

    Args:
        picture: `(H, W, 3)` uint8 RGB.
        suffix: `'.jpg'` or `'.png'`.
    """
    _, data = cv2.imencode(suffix, picture[..., ::-1])
    return data.tobytes()
