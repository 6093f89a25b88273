"""Responses of a session's predictor to the requests of `messages.py`."""

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

THING_FIELDS = tuple(Thing.model_fields)


def set_image(predictor: OVSAMPredictor, data: bytes, max_pixels: int) -> tuple[int, int]:
    """Set an image file of at most `max_pixels`; returns its width and height.

    Raises:
        ValueError: It is truncated, no image, or too large; the previous image stays set.
    """
    image = read_sent_image(data, 'The image', max_pixels, predictor.value_range)
    predictor.set_image(image)
    return image.shape[1], image.shape[0]


def read_names(name_encoder: NameEncoder, names: Sequence[str]) -> TextClassifier:
    """A classifier of these names, or of the model's own if there are none.

    Raises:
        ValueError: See `NameEncoder.classifier`, or the model has no names.
    """
    if names:
        return name_encoder.classifier(names)
    if name_encoder.vocabulary is None:
        raise ValueError('This model has no names of its own: give at least one.')
    return name_encoder.vocabulary


def set_names(predictor: OVSAMPredictor, classifier: TextClassifier) -> Sequence[str]:
    """Replace the vocabulary; returns the new names."""
    predictor.set_vocabulary(classifier)
    return predictor.vocabulary


def prompt(predictor: OVSAMPredictor, request: PromptRequest) -> list[dict]:
    """Masks of prompted objects, with the fields of `Thing`.

    Raises:
        ValueError: See `OVSAMPredictor.predict_batch`.
    """
    prompts = []
    for index, prompt in enumerate(request.prompts):
        arguments = prompt.model_dump(exclude={'mask'})
        if prompt.mask is not None:
            try:
                arguments['mask_input'] = predictor.mask_input(_decode(prompt.mask, predictor))
            except ValueError as error:
                raise ValueError(f'Prompt {index}: {error}') from None
        prompts.append(arguments)
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
    return _format(things, request.mask_format)


def find(predictor: OVSAMPredictor, request: FindRequest, name_encoder: NameEncoder) -> list[dict]:
    """All objects with some names.

    Raises:
        ValueError: See `OVSAMPredictor.find` and `NameEncoder.classifier`.
    """
    side, background = request.points_per_side, request.background
    detections = predictor.find(
        name_encoder.classifier(request.names),
        bboxes=None if request.bboxes is None else np.reshape(request.bboxes, (-1, 4)),
        score_thr=request.score_thr,
        background=name_encoder.classifier(background) if background else background,
        candidates=None if side is None else dict(points_per_side=side),
        top_k=request.top_k,
    )
    return _format(detections, request.mask_format)


def everything(predictor: OVSAMPredictor, request: EverythingRequest) -> list[dict]:
    """All objects of the image.

    Raises:
        ValueError: See `OVSAMPredictor.segment_everything`.
    """
    annotations = predictor.segment_everything(**request.model_dump(exclude={'mask_format'}))
    return _format(annotations, request.mask_format)


def _decode(mask: RunLengths, predictor: OVSAMPredictor) -> np.ndarray:
    height, width = predictor.original_size
    runs = run_lengths(mask.counts)
    if mask.size != [height, width] or runs.min() < 0 or runs.sum() != height * width:
        raise ValueError(
            f'mask {mask.counts!a:.40} of size {mask.size} is no mask of this image: that has '
            f'size [{height}, {width}].'
        )
    return coco_mask.decode(mask.model_dump()).astype(bool)


def _format(annotations: Sequence[dict], mask_format: str) -> list[dict]:
    things = [{key: a[key] for key in THING_FIELDS if key in a} for a in annotations]
    if mask_format == 'polygons':
        for thing in things:
            thing['segmentation'] = [ring.flatten().tolist() for ring in polygons_of(thing)]
    return things
