"""Where the objects of an image come from: everything in it, names, a detector, a file of boxes."""

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
CHOSEN_HERE = ('self', 'names', 'image', 'image_format', 'image_index', 'bboxes', 'output_mode')
"""Arguments of the predictor's methods that are no options of a source."""


class Found(NamedTuple):
    """An object of an image."""

    segmentation: dict
    """Run lengths as COCO's JSON has them, `counts` as text."""
    score: float
    names: Sequence[str]
    """The best first; none from a model that only segments."""
    name_scores: Sequence[float]


class Source(ABC):
    """What says which objects an image has.

    Attributes:
        settings: All that its results depend on, besides the predictor.
        tile_size: Of large images that are looked at tile by tile; None for others.
    """

    settings: dict
    tile_size: int | None = None

    def read(self, path: Path, value_range: Sequence[float] | None) -> np.ndarray | LargeImage:
        """An image as `find` takes it."""
        if self.tile_size is None:
            return read_image(path, value_range=value_range)
        return open_large_image(path, value_range=value_range)

    @abstractmethod
    def find(
        self, predictor: OVSAMPredictor, images: Mapping[str, np.ndarray], top_k: int
    ) -> list[list[Found]]:
        """The objects of some images.

        Args:
            predictor: Its images are replaced.
            images: `(H, W, 3)` uint8 BGR, or what `read` gives, by their names.
            top_k: How many names an object gets, at most.
        """


class EverythingSource(Source):
    """All that `segment_everything` finds, with its `score`; `options` are its arguments."""

    def __init__(self, options: Mapping) -> None:
        require_known('The prompter', options, _arguments(OVSAMPredictor.segment_everything))
        self.options = dict(options)
        self.tile_size = self.options.get('tile_size')
        self.settings = dict(prompter=EVERYTHING, options=self.options)

    def find(
        self, predictor: OVSAMPredictor, images: Mapping[str, np.ndarray], top_k: int
    ) -> list[list[Found]]:
        """See `Source.find`."""
        needs_image = self.options.get('crop_layers') or self.tile_size
        return [
            _as_found(predictor.segment_everything(top_k=top_k, **which, **self.options))
            for which in _set_images(predictor, images, not needs_image)
        ]


class FindSource(Source):
    """What `OVSAMPredictor.find` finds of the names of the predictor's vocabulary.

    Its options are the arguments of `find`, and `detector`, whose boxes are the candidates then:
    see `DetectorPrompter`, which keeps those of a score of 0.3 or more here.
    """

    def __init__(self, options: Mapping) -> None:
        require_known('The prompter', options, [*_arguments(OVSAMPredictor.find), 'detector'])
        require_fraction(score_thr=options.get('score_thr', 0))
        self.options = dict(options)
        self.settings = dict(prompter=FIND, options=dict(options))
        self.tile_size = self.options.get('tile_size')
        detector = self.options.pop('detector', None)
        self.prompter = None
        if detector is not None:
            if self.tile_size is not None:
                raise ValueError('Give a detector or a tile_size: tiles take no boxes.')
            self.prompter, self.settings['content'] = _detector(detector, score_thr=0.3)

    def find(
        self, predictor: OVSAMPredictor, images: Mapping[str, np.ndarray], top_k: int
    ) -> list[list[Found]]:
        """See `Source.find`."""
        classifier = predictor.classifier
        names = classifier.subset(range(classifier.num_classes), predictor.vocabulary)
        found = []
        places = _set_images(predictor, images, self.tile_size is None)
        for (name, image), which in zip(images.items(), places):
            if self.prompter is not None:
                which['bboxes'] = _prompts(self.prompter, predictor, name, name, image)
            found.append(_as_found(predictor.find(names, top_k=top_k, **which, **self.options)))
        return found


class PromptSource(Source):
    """The masks of the boxes of a prompter, one each and in their order.

    The score is the root of the product of the box's and the best name's, as `OVSAM` has it by
    default. `ids` has what the prompter calls the images, by their names; None if just so.
    """

    def __init__(
        self, prompter: Prompter, settings: dict, ids: Mapping[str, int | str] | None = None
    ) -> None:
        self.prompter, self.settings, self.ids = prompter, settings, ids

    def find(
        self, predictor: OVSAMPredictor, images: Mapping[str, np.ndarray], top_k: int
    ) -> list[list[Found]]:
        """See `Source.find`."""
        found = []
        for (name, image), which in zip(images.items(), _set_images(predictor, images)):
            img_id = name if self.ids is None else self.ids.get(name)
            if img_id is None:
                found.append([])
                continue
            prompts = _prompts(self.prompter, predictor, img_id, name, image)
            options = dict(top_k=top_k, mask_format='rle', keep_logits=False)
            pred = predictor.predict_batch(prompts, **which, **options)
            scores = pred.name_scores[:, 0] if pred.name_scores.shape[1] else pred.scores
            if prompts.scores is not None:
                scores = np.sqrt(scores * prompts.scores.cpu().numpy())
            parts = pred.masks, scores.tolist(), pred.names, pred.name_scores.tolist()
            found.append(list(map(Found, *parts)))
        return found


def find_source(prompter: str | PathLike, options: Mapping, names: Sequence[str]) -> Source:
    """The source that a user names.

    Args:
        prompter: `'everything'`; `'find'`, see `FindSource`; a file of proposals, see
            `FilePrompter`; or a detector, see `DetectorPrompter`.
        options: Arguments of `segment_everything`, of `find`, of `DetectorPrompter`, or `filter`
            of `FilePrompter` and `annotations` of `match_images`.
        names: What the images are called.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: An option is unknown, or the proposals are of other images.
    """
    if str(prompter) == EVERYTHING:
        return EverythingSource(options)
    if str(prompter) == FIND:
        return FindSource(options)
    settings = dict(prompter=str(prompter), options=dict(options))
    if Path(prompter).suffix in ('.json', *PICKLES):
        require_known('The prompter', options, ('annotations', 'filter'))
        boxes = FilePrompter(prompter, filter=options.get('filter'))
        ids = match_images(boxes.images, names, prompter, options.get('annotations'))
        settings['content'] = hashlib.sha256(Path(prompter).read_bytes()).hexdigest()
        return PromptSource(boxes, settings, ids)
    require_known('The prompter', options, list(inspect.signature(DetectorPrompter).parameters)[1:])
    detector, settings['content'] = _detector(prompter, **options)
    return PromptSource(detector, settings)


def _set_images(
    predictor: OVSAMPredictor, images: Mapping[str, np.ndarray], at_once: bool = True
) -> list[dict]:
    """The arguments by which the predictor's methods look at each image."""
    if not at_once:
        return [dict(image=image, image_format='BGR') for image in images.values()]
    predictor.set_image_batch(list(images.values()), 'BGR')
    return [dict(image_index=index) for index in range(len(images))]


def _as_found(things: Sequence[Mapping]) -> list[Found]:
    return [Found(*(thing[key] for key in Found._fields)) for thing in things]


def _prompts(
    prompter: Prompter, predictor: OVSAMPredictor, img_id: int | str, name: str, image: np.ndarray
) -> Prompts:
    metainfo = dict(img_id=img_id, img_path=name, ori_img=image, ori_shape=image.shape[:2])
    (prompts,) = prompter.to(predictor.device)([DetDataSample(metainfo=metainfo)])
    return prompts


def _detector(detector: str | PathLike, **options) -> tuple[DetectorPrompter, str]:
    """A detector with its weights, and what tells it from others."""
    prompter = DetectorPrompter(detector, **options)
    prompter.init_weights()
    if isinstance(getattr(prompter.detector, 'prompter', None), GTPrompter):
        raise ValueError(
            f'{detector} is prompted by annotations: give a detector that finds boxes.'
        )
    return prompter, module_fingerprint(prompter.detector)


def _arguments(method: Callable) -> list[str]:
    taken = (*CHOSEN_HERE, 'top_k')
    return [name for name in inspect.signature(method).parameters if name not in taken]
