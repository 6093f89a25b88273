"""What a session's predictor answers to the server's requests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pycocotools import mask as coco_mask

from ..apis import OVSAMPredictor
from ..apis.image_input import read_sent_image
from ..apis.inference_results import measured
from ..apis.name_encoder import NameEncoder
from ..apis.polygons import polygons_of
from ..datasets.annotations import run_lengths
from ..vocabulary import TextClassifier
from .messages import EverythingRequest, FindRequest, PromptRequest, RunLengths, Thing

FROM_THINGS = tuple(Thing.model_fields)


def set_image(predictor: OVSAMPredictor, data: bytes, max_pixels: int) -> tuple[int, int]:
    """Encode an image file of at most `max_pixels`; its width and height.

    Raises:
        ValueError: It is truncated, no image, or too large; then the old one stays.
    """
    image = read_sent_image(data, 'The image', max_pixels, predictor.value_range)
    predictor.set_image(image)
    return image.shape[1], image.shape[0]


def read_names(name_encoder: NameEncoder, names: Sequence[str]) -> TextClassifier:
    """What names things by these, or by the model's own if none are given.

    Raises:
        ValueError: As for `NameEncoder.classifier`, or the model has no names.
    """
    if names:
        return name_encoder.classifier(names)
    if name_encoder.vocabulary is None:
        raise ValueError('This model has no names of its own: give at least one.')
    return name_encoder.vocabulary


def set_names(predictor: OVSAMPredictor, classifier: TextClassifier) -> Sequence[str]:
    """Change what things may be called; the new names."""
    predictor.set_vocabulary(classifier)
    return predictor.vocabulary


def prompt(predictor: OVSAMPredictor, request: PromptRequest) -> list[dict]:
    """The masks of prompted objects, as `Thing` has them.

    Raises:
        ValueError: As for `OVSAMPredictor.predict_batch`.
    """
    prompts = []
    for index, each in enumerate(request.prompts):
        given = each.model_dump(exclude={'mask'})
        if each.mask is not None:
            try:
                given['mask_input'] = predictor.mask_input(_decoded(each.mask, predictor))
            except ValueError as error:
                raise ValueError(f'Prompt {index}: {error}') from None
        prompts.append(given)
    pred = predictor.predict_batch(
        prompts,
        top_k=request.top_k,
        mask_format='rle',
        multimask_output=request.multimask_output,
        keep_logits=False,
    )
    quality = 'predicted_iou' if predictor.model.predicts_quality else 'stability_score'
    per_prompt = len(pred.masks) // len(prompts)
    things = []
    for row, mask in enumerate(pred.masks):
        scores, mask_score = pred.name_scores[row].tolist(), float(pred.scores[row])
        thing = dict(
            measured(mask),
            prompt=row // per_prompt,
            name=pred.names[row][0] if scores else None,
            score=scores[0] if scores else mask_score,
            names=pred.names[row],
            name_scores=scores,
        )
        things.append({**thing, quality: mask_score})
    return _formatted(things, request.mask_format)


def find(predictor: OVSAMPredictor, request: FindRequest, name_encoder: NameEncoder) -> list[dict]:
    """All objects of some names.

    Raises:
        ValueError: As for `OVSAMPredictor.find` and `NameEncoder.classifier`.
    """
    side, background = request.points_per_side, request.background
    things = predictor.find(
        name_encoder.classifier(request.names),
        bboxes=None if request.bboxes is None else np.reshape(request.bboxes, (-1, 4)),
        score_thr=request.score_thr,
        background=name_encoder.classifier(background) if background else background,
        candidates=None if side is None else dict(points_per_side=side),
        top_k=request.top_k,
    )
    return _formatted(things, request.mask_format)


def everything(predictor: OVSAMPredictor, request: EverythingRequest) -> list[dict]:
    """Everything in the image.

    Raises:
        ValueError: As for `OVSAMPredictor.segment_everything`.
    """
    things = predictor.segment_everything(**request.model_dump(exclude={'mask_format'}))
    return _formatted(things, request.mask_format)


def _decoded(mask: RunLengths, predictor: OVSAMPredictor) -> np.ndarray:
    height, width = predictor.original_size
    runs = run_lengths(mask.counts)
    if mask.size != [height, width] or runs.min() < 0 or runs.sum() != height * width:
        raise ValueError(
            f'mask {mask.counts!a:.40} of size {mask.size} is no mask of this image: that has '
            f'size [{height}, {width}].'
        )
    return coco_mask.decode(mask.model_dump()).astype(bool)


def _formatted(things: Sequence[dict], mask_format: str) -> list[dict]:
    answer = [{key: thing[key] for key in FROM_THINGS if key in thing} for thing in things]
    if mask_format == 'polygons':
        for thing in answer:
            thing['segmentation'] = [ring.flatten().tolist() for ring in polygons_of(thing)]
    return answer
