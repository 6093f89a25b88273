"""From low-resolution logits to masks and boxes in pixels of the image."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from mmdet.structures import DetDataSample
from torch import Tensor

from ...layers import to_device
from ...layers.bboxes import masks_to_bboxes
from .run_lengths import PIXELS_AT_ONCE, bboxes_of_runs, decode_runs, encode_logits

MASK_FORMATS = ('tensor', 'rle')


def stability_scores(
    low_res_logits: Tensor, input_size: int, img_shape: tuple, offset: float = 1.0
) -> Tensor:
    """SAM's stability scores of masks, `(N,)` from 0 to 1.

    The intersection over union of the masks at thresholds `offset` above and below 0 (Segment
    Anything, arXiv 2304.02643), without the padding; 0 for a mask that is empty at the lower one.
    Arguments are those of `enlarge_logits`.
    """
    stride = input_size // low_res_logits.shape[-1]
    height, width = (-(-side // stride) for side in img_shape[:2])
    logits = low_res_logits[:, 0, :height, :width].flatten(1)
    inner, outer = (logits > offset).sum(1), (logits > -offset).sum(1)
    return inner.float() / outer.clamp(min=1)


def enlarge_logits(
    low_res_logits: Tensor, input_size: int, img_shape: tuple, ori_shape: tuple | None
) -> Iterator[Tensor]:
    """Masks as logits at the image's size, a few at a time so that memory stays bounded.

    Args:
        low_res_logits: `(N, 1, h, w)` over the padded square.
        input_size: Side of that square in pixels.
        img_shape: `(H, W)` of the image inside the square.
        ori_shape: `(H, W)` wanted, or None for `img_shape`.

    Yields:
        `(n, H, W)` float32, the next n masks; inside is above 0.
    """
    height, width = img_shape[:2]
    final = (height, width) if ori_shape is None else tuple(ori_shape[:2])
    limit = PIXELS_AT_ONCE if low_res_logits.device.type == 'cpu' else 4 * PIXELS_AT_ONCE
    step = max(1, limit // max(input_size**2, final[0] * final[1]))
    for start in range(0, len(low_res_logits), step):
        logits = low_res_logits[start : start + step]
        logits = F.interpolate(
            logits.float(), (input_size, input_size), mode='bilinear', align_corners=False
        )
        logits = logits[..., :height, :width]
        if final != (height, width):
            logits = F.interpolate(logits, final, mode='bilinear', align_corners=False)
        yield logits[:, 0]


def drawable(sample: DetDataSample, score_thr: float) -> DetDataSample:
    """A data sample whose predicted masks are arrays.

    Run-length encodings are decoded; their instances at or below `score_thr` are left out.
    """
    instances = sample.pred_instances
    if not isinstance(instances.get('masks'), list):
        return sample
    sample = sample.clone()  # shallow
    sample.pred_instances = instances = instances[instances.scores > score_thr]
    instances.masks = torch.from_numpy(decode_runs(instances.masks, sample.ori_shape))
    return sample


class MaskWriter:
    """Collects the masks of one image's instances, chunk after chunk.

    Args:
        num: Number of masks in all, N.
        metainfo: `img_shape` and `ori_shape` of the image.
        input_size: Side of the network's square input in pixels.
        rescale: Whether masks have the size of the original image, or of the network's.
        mask_format: `'tensor'`: `(N, H, W)` bool. `'logits'`: float32, inside is above 0. `'rle'`:
            a list of N run-length encodings of pycocotools, made without full masks.
        device: Of the masks and their boxes; None for that of the logits.
    """

    def __init__(
        self,
        num: int,
        metainfo: dict,
        input_size: int,
        rescale: bool,
        mask_format: str,
        device: torch.device | str | None = None,
    ) -> None:
        self.num = num
        self.input_size = input_size
        self.img_shape = metainfo['img_shape'][:2]
        self.ori_shape = metainfo['ori_shape'][:2] if rescale else None
        self.mask_format = mask_format
        self.device = device
        self.masks: Tensor | list[dict] = []
        self.done = 0

    def add(self, low_res_logits: Tensor, with_bboxes: bool = True) -> Tensor | None:
        """Add the next logits `(n, 1, h, w)`; returns boxes `(n, 4)` xyxy of the masks, or None."""
        device = self.device or low_res_logits.device
        size = self.ori_shape or self.img_shape
        if self.mask_format == 'rle':
            runs = encode_logits(low_res_logits, self.input_size, self.img_shape, size)
            self.masks += runs
            return to_device(bboxes_of_runs(runs), device) if with_bboxes else None
        if self.done == 0:
            dtype = torch.float32 if self.mask_format == 'logits' else torch.bool
            self.masks = torch.empty(self.num, *size, dtype=dtype, device=device)
        bboxes = []
        for logits in enlarge_logits(
            low_res_logits, self.input_size, self.img_shape, self.ori_shape
        ):
            rows = self.masks[self.done : self.done + len(logits)]
            if rows.dtype == torch.bool and rows.device == logits.device:
                masks = torch.gt(logits, 0, out=rows)
            else:
                masks = logits > 0
                rows.copy_(logits if self.mask_format == 'logits' else masks)
            if with_bboxes:
                bboxes.append(masks_to_bboxes(masks).float())
            self.done += len(logits)
        if not with_bboxes:
            return None
        empty = low_res_logits.new_zeros(0, 4, dtype=torch.float32)
        return torch.cat((empty, *bboxes)).to(device)
