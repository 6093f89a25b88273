"""The result of a prediction, collected chunk by chunk."""

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
    """N masks with names; unpacks to `masks, scores, low_res_logits`, as SAM's predictor returns.

    Attributes:
        masks: `(N, H, W)` bool at the size of the image; with `return_logits` float32 logits,
            positive inside; with `mask_format='rle'` a list of N run-length encodings as in COCO's
            JSON, `counts` as text.
        scores: `(N,)` float32, the IoU that the decoder predicts for each mask; for decoders that
            predict none its stability, see `stability_scores`.
        low_res_logits: `(N, h, w)` float32 over the padded network input; `low_res_logits[i][None]`
            is a `mask_input`. None without `keep_logits`.
        bboxes: `(N, 4)` float32 xyxy in pixels of the image, the bounding boxes of the masks;
            zeros for an empty mask.
        names: The `top_k` best names of each mask, best first; empty if the model only segments.
        name_scores: `(N, top_k)` float32, their probabilities.
        regions: With `keep_regions`, the embeddings that names are compared with, on the CPU.
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
    """Collects the `num` masks of an image, chunk after chunk, in a `Prediction`.

    `metainfo` has `img_shape` and `ori_shape`; `logit_size` is the side of low-resolution logits, 0
    to drop them; `mask_format` is `'tensor'`, `'rle'` or `'logits'`.
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
        """Add the next n masks, and the probabilities `(n, K)` of their names."""
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
        """The result."""
        regions = None
        if self.regions:
            regions = RegionEmbeddings(*(torch.cat(field).cpu() for field in zip(*self.regions)))
        masks = self.writer.masks
        return Prediction(
            run_lengths(masks) if isinstance(masks, list) else masks.numpy(),
            self.scores,
            self.low_res_logits,
            self.bboxes,
            self.names,
            self.name_scores,
            regions,
        )
