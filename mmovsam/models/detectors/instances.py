"""From logits in the network's frame to instances in the image's."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmengine.structures import InstanceData
from torch import Tensor

from ...prompts import Prompts

TOP_K = 5
PIXELS_AT_ONCE = 2**25


def masks_to_bboxes(masks: Tensor) -> Tensor:
    """Bounding boxes of masks.

    Args:
        masks: `(N, H, W)` bool.

    Returns:
        `(N, 4)` xyxy in pixels, the right and lower edges exclusive; zeros for an empty mask.
    """
    bboxes = []
    for inside in (masks.any(1), masks.any(2)):
        size = inside.shape[1]
        first = inside.int().argmax(1)
        last = size - inside.flip(1).int().argmax(1)
        bboxes.append(torch.stack((first, last), dim=1))
    bboxes = torch.stack(bboxes, dim=2).flatten(1)
    return bboxes * masks.flatten(1).any(1)[:, None]


def enlarge_masks(
    low_res_logits: Tensor, input_size: int, img_shape: tuple, ori_shape: tuple | None
) -> Tensor:
    """Masks at the image's size, a few at a time so that memory stays bounded.

    Args:
        low_res_logits: `(N, 1, h, w)` over the padded square.
        input_size: Side of that square in pixels.
        img_shape: `(H, W)` of the image inside the square.
        ori_shape: `(H, W)` wanted, or None for `img_shape`.

    Returns:
        `(N, H, W)` bool.
    """
    height, width = img_shape[:2]
    final = (height, width) if ori_shape is None else tuple(ori_shape[:2])
    masks = torch.zeros(len(low_res_logits), *final, dtype=torch.bool, device=low_res_logits.device)
    step = max(1, PIXELS_AT_ONCE // max(input_size**2, final[0] * final[1]))
    for start in range(0, len(masks), step):
        logits = low_res_logits[start : start + step].float()
        logits = F.interpolate(
            logits, (input_size, input_size), mode='bilinear', align_corners=False
        )
        logits = logits[..., :height, :width]
        if final != (height, width):
            logits = F.interpolate(logits, final, mode='bilinear', align_corners=False)
        masks[start : start + step] = logits[:, 0] > 0
    return masks


class InstanceBuilder:
    """Turn what the network says of prompts into MMDetection's instances.

    Args:
        score: `'recognition'`, `'detector'` or `'geometric'`; the latter two are the recognition's
            where a prompt has no score of its own.
        bboxes: `'prompt'` or `'mask'`.
    """

    def __init__(self, score: str, bboxes: str) -> None:
        self.score = score
        self.bboxes = bboxes

    def __call__(
        self,
        said,
        prompts: Prompts,
        metainfo: dict,
        input_size: int,
        rescale: bool,
        classifier,
        top_k: int = TOP_K,
    ) -> InstanceData:
        """Build the instances of N prompts.

        Args:
            said: `Recognized` of the prompts.
            prompts: In pixels of the original image.
            metainfo: Of the image.
            input_size: Side of the network's square input.
            rescale: Whether to go to the original image's frame.
            classifier: Makes probabilities of fused logits; None without names.
            top_k: How many of the best names are kept.
        """
        ori_shape = metainfo['ori_shape'] if rescale else None
        logits = said.low_res_logits
        masks = enlarge_masks(logits, input_size, metainfo['img_shape'], ori_shape)
        if not rescale:
            prompts = prompts.scaled(tuple(metainfo.get('scale_factor', (1.0, 1.0)))[:2])
        instances = InstanceData()
        instances.bboxes = self._bboxes(prompts, masks)
        if classifier is None:
            instances.scores = logits.new_ones(len(logits))
            instances.labels = torch.zeros(len(logits), dtype=torch.long, device=logits.device)
            if prompts.scores is not None:
                instances.scores = prompts.scores.to(logits)
        else:
            self.name(instances, said.fused_logits, prompts, classifier, top_k)
        instances.masks = masks
        return instances

    def name(
        self,
        instances: InstanceData,
        fused_logits: Tensor,
        prompts: Prompts,
        classifier,
        top_k: int = TOP_K,
    ) -> None:
        """Give instances `labels`, `scores`, `topk_labels` and `topk_scores`.

        Args:
            instances: Of N prompts.
            fused_logits: `(N, K + 1)`, logarithms.
            prompts: Their `scores` are read.
            classifier: Makes probabilities of the logits.
            top_k: How many of the best names are kept.
        """
        probabilities = classifier.probabilities(fused_logits)
        top = probabilities.topk(min(top_k, probabilities.shape[1]), dim=1)
        instances.scores = self._scores(top.values[:, 0], prompts)
        instances.labels = top.indices[:, 0]
        instances.topk_labels = top.indices
        instances.topk_scores = top.values

    def _bboxes(self, prompts: Prompts, masks: Tensor) -> Tensor:
        of_masks = masks_to_bboxes(masks).float()
        if self.bboxes == 'mask' or prompts.bboxes is None:
            return of_masks
        with_box = prompts.bboxes.isfinite().all(1, keepdim=True)
        return torch.where(with_box, prompts.bboxes, of_masks)

    def _scores(self, recognition: Tensor, prompts: Prompts) -> Tensor:
        if prompts.scores is None or self.score == 'recognition':
            return recognition
        detector = prompts.scores.to(recognition)
        return detector if self.score == 'detector' else (detector * recognition).sqrt()
