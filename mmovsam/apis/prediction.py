"""What a predictor gives, and how it is put together chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..models.detectors.features import RecognitionOutput, RegionEmbeddings
from ..models.detectors.instances import MaskWriter, stability_scores
from .inference_results import run_lengths


@dataclass(frozen=True, eq=False)
class Prediction:
    """N masks with names; unpacks to `masks, scores, low_res_logits` as SAM's predictor returns.

    Attributes:
        masks: `(N, H, W)` bool at the size of the image that was set; float32 logits, inside above
            0, where `return_logits` asked for them; or for `mask_format='rle'` a list of N
            run-length encodings as COCO's JSON has them, `counts` as text.
        scores: `(N,)` float32, the predicted quality of each mask: its IoU as the decoder
            predicts it where it does so, else its stability, see `stability_scores`.
        low_res_logits: `(N, h, w)` float32 over the padded network input; one of them, `(1, h, w)`,
            is a `mask_input`. None if they were not to be kept.
        bboxes: `(N, 4)` float32 xyxy in pixels of that image, the bounding boxes of the masks;
            zeros for an empty mask.
        names: For each mask its `top_k` best names, best first; none where the model has none.
        name_scores: `(N, top_k)` float32, their probabilities.
        regions: What the N masks were named by, on the CPU, if it was to be kept.
    """

    masks: np.ndarray | list[dict]
    scores: np.ndarray
    low_res_logits: np.ndarray | None
    bboxes: np.ndarray
    names: list[list[str]]
    name_scores: np.ndarray
    regions: RegionEmbeddings | None = None

    def __iter__(self) -> Iterator:
        return iter((self.masks, self.scores, self.low_res_logits))


class PredictionWriter:
    """Collects the masks of one image, chunk after chunk, and makes a `Prediction` of them.

    There will be `num` masks. `metainfo` has `img_shape` and `ori_shape`; `input_size` is the side
    of the network's input, `logit_size` that of low-resolution logits, 0 to keep none; `names` are
    those of the classes; `mask_format` is `'tensor'`, `'rle'` or `'logits'`.
    """

    def __init__(
        self,
        num: int,
        metainfo: dict,
        input_size: int,
        logit_size: int,
        names: Sequence[str],
        top_k: int,
        mask_format: str,
        keep_regions: bool = False,
    ) -> None:
        self.input_size = input_size
        self.img_shape = metainfo['img_shape'][:2]
        self.vocabulary = names
        self.writer = MaskWriter(num, metainfo, input_size, True, mask_format, 'cpu')
        self.scores = np.zeros(num, np.float32)
        self.low_res_logits = None
        if logit_size:
            self.low_res_logits = np.zeros((num, logit_size, logit_size), np.float32)
        self.bboxes = np.zeros((num, 4), np.float32)
        self.names: list[list[str]] = [[] for _ in range(num)]
        self.name_scores = np.zeros((num, min(top_k, len(names))), np.float32)
        self.keep_regions = keep_regions
        self.regions: list[RegionEmbeddings] = []
        self.done = 0

    def add(self, outputs: RecognitionOutput, probabilities: Tensor | None) -> None:
        """Take the next n masks, and the probabilities `(n, K)` of their names."""
        logits, scores = outputs.low_res_logits.float(), outputs.iou_predictions
        if scores is None:
            scores = stability_scores(logits, self.input_size, self.img_shape)
        rows = slice(self.done, self.done + len(logits))
        self.scores[rows] = scores.float().cpu().numpy()
        if self.low_res_logits is not None:
            self.low_res_logits[rows] = logits[:, 0].cpu().numpy()
        if probabilities is not None:
            best = probabilities.float().topk(self.name_scores.shape[1], dim=1)
            self.name_scores[rows] = best.values.cpu().numpy()
            self.names[rows] = [
                [self.vocabulary[label] for label in labels] for labels in best.indices.tolist()
            ]
        if self.keep_regions and outputs.regions is not None:
            self.regions.append(outputs.regions)
        self.bboxes[rows] = self.writer.add(logits).numpy()
        self.done = rows.stop

    def prediction(self) -> Prediction:
        """All that was put in."""
        regions = None
        if self.regions:
            regions = RegionEmbeddings(*(torch.cat(parts).cpu() for parts in zip(*self.regions)))
        masks = self.writer.masks
        masks = run_lengths(masks) if isinstance(masks, list) else masks.numpy()
        parts = masks, self.scores, self.low_res_logits, self.bboxes
        return Prediction(*parts, self.names, self.name_scores, regions)
