"""Comparison of an export with PyTorch."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F

from ..models.detectors import OVSAM
from ..models.detectors.instances import stability_scores
from ..prompts import Prompts
from ..vocabulary import TextClassifier
from .onnx_model import ONNXModel
from .vocabulary import VocabularyArrays

THRESHOLDS = (-1.0, 0.0, 1.0)  # of logits, for masks and their stability
# number of prompts, number of points of each, whether they have boxes
PROMPT_SIZES = (
    (1, 0, True),
    (1, 1, False),
    (4, 0, True),
    (3, 2, False),
    (2, 3, True),
    (40, 1, False),
)


@dataclass
class Comparison:
    """The largest differences between the outputs of an export and PyTorch, by name.

    They are relative to the largest absolute value of the output, or to 1 if that is larger. Of the
    `prompts`, `borderline` have a mask that differs at a threshold of the logits. As that may move
    the region's box, their quality and names are not compared.
    """

    differences: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    prompts: int = 0
    borderline: int = 0

    def add(self, name: str, got: np.ndarray, expected: np.ndarray) -> None:
        """Add a pair of outputs; raises a `ValueError` for different shapes or NaN."""
        if got.shape != expected.shape or not np.isfinite(got).all():
            raise ValueError(
                f'The exported {name} has shape {got.shape} and PyTorch {expected.shape}, or it '
                'holds NaN or infinity: this model cannot be exported.'
            )
        if expected.size:
            scale = max(1.0, float(np.abs(expected).max()))
            difference = float(np.abs(got - expected).max()) / scale
            self.differences[name] = max(self.differences[name], difference)

    def __str__(self) -> str:
        lines = [f'{name:16} {value:.1e}' for name, value in self.differences.items()]
        if self.borderline:
            lines.append(f'not compared: quality and names of {self.borderline} borderline masks')
        return '\n'.join([f'largest differences over {self.prompts} prompts', *lines])

    @property
    def largest(self) -> float:
        """The largest of all differences."""
        return max(self.differences.values())

    def require(self, tolerance: float = 1e-4) -> None:
        """Raise a `ValueError` if a difference is larger, or most masks could not be compared."""
        deviations = [f'{k} by {v:.2g}' for k, v in self.differences.items() if v > tolerance]
        if deviations:
            raise ValueError(
                f'What was exported differs from PyTorch by more than {tolerance}: '
                f'{", ".join(deviations)}. This model cannot be exported.'
            )
        if 2 * self.borderline > self.prompts:
            raise ValueError(
                f'{self.borderline} of {self.prompts} masks end differently in the exported model: '
                'its names cannot be compared.'
            )


@torch.no_grad()
def compare(model: OVSAM, exported: ONNXModel, seed: int = 0) -> Comparison:
    """Compare an export with its model in eval mode, for several numbers of prompts and names.

    Both keep their vocabulary.
    """
    random = torch.Generator().manual_seed(seed)
    size = model.input_size
    # blobs rather than noise, so that there is something to segment
    image = torch.randn(1, 3, 8, 8, generator=random)
    image = F.interpolate(image, (size, size), mode='bicubic') * 1.5
    img_shape = (size, size * 3 // 4)
    image[..., img_shape[1] :] = 0
    expected = model.extract_feat(image)
    features = exported.encode(image.numpy())
    comparison = Comparison()
    region_maps = expected.region_maps
    if model.recognizes:
        region_maps = region_maps[: model.head.roi_extractor.num_inputs]
    arrays = (expected.embedding, expected.stage4, *region_maps, *expected.high_res_maps)
    for (name, got), array in zip(features.items(), arrays):
        comparison.add(name, got, array.numpy())
    for index, sizes in enumerate(PROMPT_SIZES):
        prompts = random_prompts(*sizes, img_shape, random)
        width = model.head.embed_dim if model.recognizes else None
        names = width and random_classifier(width, index, random)
        compare_prompts(comparison, model, exported, expected, features, prompts, img_shape, names)
    return comparison


def compare_prompts(
    comparison: Comparison,
    model: OVSAM,
    exported: ONNXModel,
    expected_features,
    features: dict[str, np.ndarray],
    prompts: Prompts,
    img_shape: tuple[int, int],
    names: TextClassifier | None,
) -> None:
    """Add the outputs of both models for prompts of one image, each from its own features.

    Prompts are in pixels of the network's input, `img_shape` is the `(H, W)` of the image in it;
    `names` is the vocabulary, None for a model without names.
    """
    classifier = None if names is None else model.classifier.with_vocabulary(names)
    outputs = model.recognize(expected_features, prompts, classifier=classifier)
    logits = outputs.low_res_logits
    scores = outputs.iou_predictions
    if scores is None:
        scores = stability_scores(logits, model.input_size, img_shape)
    expected = [logits.numpy(), scores.numpy()]
    vocabulary = exported.vocabulary
    if names is not None:
        expected.append(classifier.probabilities(outputs.fused_logits).numpy())
        exported.vocabulary = VocabularyArrays.from_classifier(names)
    try:
        got = exported.decode(features, prompts, img_shape)
    finally:
        exported.vocabulary = vocabulary
    comparison.add('low_res_logits', got[0], expected[0])
    masks = [[logits > level for level in THRESHOLDS] for logits in (got[0], expected[0])]
    same = np.equal(*masks).all(axis=(0, 2, 3, 4))
    comparison.prompts += len(same)
    comparison.borderline += int((~same).sum())
    for name, *pair in zip(exported.settings['decoder']['outputs'][1:], got[1:], expected[1:]):
        comparison.add(name, *(output[same] for output in pair))


def random_prompts(
    num: int, num_points: int, boxed: bool, img_shape: tuple[int, int], random: torch.Generator
) -> Prompts:
    """Random prompts in an image `(H, W)`, with `num_points` points each, and perhaps a box."""
    size = torch.tensor([img_shape[1], img_shape[0]], dtype=torch.float32)
    fields = {}
    if boxed:
        corners = torch.rand(num, 2, 2, generator=random).sort(1).values
        fields['bboxes'] = (corners * size).flatten(1)
    if num_points:
        fields['point_coords'] = torch.rand(num, num_points, 2, generator=random) * size
        fields['point_labels'] = torch.randint(2, (num, num_points), generator=random)
    return Prompts(**fields)


def random_classifier(width: int, index: int, random: torch.Generator) -> TextClassifier:
    """A random vocabulary: a single name at index 0, then more, every other one with a split."""
    counts = tuple(1 + i % (index + 1) for i in range(1 + 5 * index))
    embeddings = F.normalize(torch.randn(sum(counts), width, generator=random), dim=-1)
    novel = tuple((True, False, None)[i % 3] for i in range(len(counts))) if index % 2 else None
    return TextClassifier(embeddings, novel=novel, counts=counts)
