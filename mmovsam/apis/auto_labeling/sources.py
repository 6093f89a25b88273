"""Sources of objects: everything-mode, search by name, a detector, or a file of boxes."""

from __future__ import annotations

import hashlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np
from mmdet.structures import DetDataSample

from ...checkpoints.fingerprint import module_fingerprint
from ...prompts import DetectorPrompter, FilePrompter, GTPrompter, Prompter, Prompts
from ...prompts.result_files import PICKLES
from ...validation import require_fraction, require_known
from ..image_input import read_image
from ..large_image import LargeImage, open_large_image
from ..predictor import OVSAMPredictor
from .proposals import match_images

EVERYTHING = 'everything'
FIND = 'find'
# arguments of the predictor's methods that are not options, because sources set them
NO_OPTIONS = 'self', 'names', 'image', 'image_format', 'image_index', 'bboxes', 'output_mode'


class Detection(NamedTuple):
    """An object of an image."""

    segmentation: dict  # run lengths as in COCO's JSON, `counts` as text
    score: float
    names: Sequence[str]  # best first; empty if the model only segments
    name_scores: Sequence[float]


class Source(ABC):
    """Finds the objects of images.

    Attributes:
        settings: The settings that its results depend on, besides the predictor's.
        tile_size: For the search of large images in tiles, or None.
        needs_pixels: Whether `_detect` needs the image itself rather than its features.
    """

    settings: dict
    tile_size: int | None = None
    needs_pixels: bool = False

    def read(self, path: Path, value_range: Sequence[float] | None) -> np.ndarray | LargeImage:
        """Read an image for `find`."""
        if self.tile_size is None:
            return read_image(path, value_range=value_range)
        return open_large_image(path, value_range=value_range)

    def find(
        self, predictor: OVSAMPredictor, images: Mapping[str, np.ndarray], top_k: int
    ) -> list[list[Detection]]:
        """Find the objects, with up to `top_k` names, of each image.

        Images are `(H, W, 3)` uint8 BGR, or results of `read`, by name. The current images of the
        predictor are replaced.
        """
        if self.needs_pixels:
            arguments = [dict(image=image, image_format='BGR') for image in images.values()]
        else:
            predictor.set_image_batch(list(images.values()), 'BGR')
            arguments = [dict(image_index=index) for index in range(len(images))]
        return [
            self._detect(predictor, name, image, dict(options, top_k=top_k))
            for (name, image), options in zip(images.items(), arguments)
        ]

    @abstractmethod
    def _detect(
        self, predictor: OVSAMPredictor, name: str, image: np.ndarray, options: dict
    ) -> list[Detection]:
        """The objects of an image; `options` pass it to the predictor's methods."""


class EverythingSource(Source):
    """The results of `segment_everything`; `options` are its arguments."""

    def __init__(self, options: Mapping) -> None:
        require_known('The prompter', options, _arguments(OVSAMPredictor.segment_everything))
        self.options = dict(options)
        self.tile_size = self.options.get('tile_size')
        self.needs_pixels = bool(self.options.get('crop_layers') or self.tile_size)
        self.settings = dict(prompter=EVERYTHING, options=self.options)

    def _detect(
        self, predictor: OVSAMPredictor, name: str, image: np.ndarray, options: dict
    ) -> list[Detection]:
        return _to_detections(predictor.segment_everything(**options, **self.options))


class FindSource(Source):
    """The results of `OVSAMPredictor.find` for all names of the predictor's vocabulary.

    Options are the arguments of `find`, and `detector`, see `DetectorPrompter`, whose boxes with a
    score of 0.3 or more are then the candidates.
    """

    def __init__(self, options: Mapping) -> None:
        require_known('The prompter', options, [*_arguments(OVSAMPredictor.find), 'detector'])
        require_fraction(score_thr=options.get('score_thr', 0))
        self.options = dict(options)
        self.settings = dict(prompter=FIND, options=dict(options))
        self.tile_size = self.options.get('tile_size')
        self.needs_pixels = self.tile_size is not None
        detector = self.options.pop('detector', None)
        self.prompter = None
        if detector is not None:
            if self.tile_size is not None:
                raise ValueError('Give a detector or a tile_size: tiles take no boxes.')
            self.prompter, self.settings['content'] = _detector(detector, score_thr=0.3)

    def _detect(
        self, predictor: OVSAMPredictor, name: str, image: np.ndarray, options: dict
    ) -> list[Detection]:
        classifier = predictor.classifier
        names = classifier.subset(range(classifier.num_classes), predictor.vocabulary)
        if self.prompter is not None:
            options['bboxes'] = _prompts(self.prompter, predictor, name, name, image)
        return _to_detections(predictor.find(names, **options, **self.options))


class PromptSource(Source):
    """A mask for each box of a prompter, in order.

    The score is the geometric mean of the box's and the best name's, the default of `OVSAM`. `ids`
    are the prompter's image ids by image name; by default the names.
    """

    def __init__(
        self, prompter: Prompter, settings: dict, ids: Mapping[str, int | str] | None = None
    ) -> None:
        self.prompter, self.settings, self.ids = prompter, settings, ids

    def _detect(
        self, predictor: OVSAMPredictor, name: str, image: np.ndarray, options: dict
    ) -> list[Detection]:
        img_id = name if self.ids is None else self.ids.get(name)
        if img_id is None:
            return []
        prompts = _prompts(self.prompter, predictor, img_id, name, image)
        pred = predictor.predict_batch(prompts, mask_format='rle', keep_logits=False, **options)
        scores = pred.name_scores[:, 0] if pred.name_scores.shape[1] else pred.scores
        if prompts.scores is not None:
            scores = np.sqrt(scores * prompts.scores.cpu().numpy())
        fields = pred.masks, scores.tolist(), pred.names, pred.name_scores.tolist()
        return list(map(Detection, *fields))


def find_source(prompter: str | PathLike, options: Mapping, names: Sequence[str]) -> Source:
    """The source for a `prompter` argument, and images of the given names.

    It is `'everything'`, with arguments of `segment_everything` as options; `'find'`, see
    `FindSource`; a file of proposals, with `filter` of `FilePrompter` and `annotations` of
    `match_images`; or a detector, with arguments of `DetectorPrompter`.

    Raises:
        FileNotFoundError: A file does not exist.
        ValueError: An option is unknown, or the proposals are of other images.
    """
    if str(prompter) == EVERYTHING:
        return EverythingSource(options)
    if str(prompter) == FIND:
        return FindSource(options)
    settings = dict(prompter=str(prompter), options=dict(options))
    if Path(prompter).suffix in ('.json', *PICKLES):
        require_known('The prompter', options, ('annotations', 'filter'))
        file_prompter = FilePrompter(prompter, filter=options.get('filter'))
        ids = match_images(file_prompter.images, names, prompter, options.get('annotations'))
        settings['content'] = hashlib.sha256(Path(prompter).read_bytes()).hexdigest()
        return PromptSource(file_prompter, settings, ids)
    require_known('The prompter', options, list(inspect.signature(DetectorPrompter).parameters)[1:])
    detector, settings['content'] = _detector(prompter, **options)
    return PromptSource(detector, settings)


def _to_detections(things: Sequence[Mapping]) -> list[Detection]:
    return [Detection(*(thing[key] for key in Detection._fields)) for thing in things]


def _prompts(
    prompter: Prompter, predictor: OVSAMPredictor, img_id: int | str, name: str, image: np.ndarray
) -> Prompts:
    metainfo = dict(img_id=img_id, img_path=name, ori_img=image, ori_shape=image.shape[:2])
    (prompts,) = prompter.to(predictor.device)([DetDataSample(metainfo=metainfo)])
    return prompts


def _detector(detector: str | PathLike, **options) -> tuple[DetectorPrompter, str]:
    """A detector with its weights, and its fingerprint."""
    prompter = DetectorPrompter(detector, **options)
    prompter.init_weights()
    if isinstance(getattr(prompter.detector, 'prompter', None), GTPrompter):
        raise ValueError(
            f'{detector} is prompted by annotations: give a detector that finds boxes.'
        )
    return prompter, module_fingerprint(prompter.detector)


def _arguments(method: Callable) -> list[str]:
    names = inspect.signature(method).parameters
    return [name for name in names if name not in (*NO_OPTIONS, 'top_k')]
