"""Where the objects of an image come from: everything in it, a detector, a file of proposals."""

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
from ...prompts import DetectorPrompter, FilePrompter, Prompter
from ...prompts.result_files import PICKLES
from ..find import check_score_thr
from ..image_input import read_image
from ..large_image import LargeImage, open_large_image
from ..predictor import OVSAMPredictor
from .proposals import match_images

EVERYTHING = 'everything'
FIND = 'find'


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
        settings: All that its answers depend on, besides the predictor.
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
    """All that `segment_everything` finds, with its `score`.

    Args:
        options: Arguments of `segment_everything`.

    Raises:
        ValueError: An argument is unknown.
    """

    def __init__(self, options: Mapping) -> None:
        taken = ('self', 'image', 'image_format', 'image_index', 'output_mode', 'top_k')
        _check_options(options, _arguments(OVSAMPredictor.segment_everything, *taken))
        self.options = dict(options)
        self.tile_size = self.options.get('tile_size')
        self.settings = dict(prompter=EVERYTHING, options=self.options)

    def find(
        self, predictor: OVSAMPredictor, images: Mapping[str, np.ndarray], top_k: int
    ) -> list[list[Found]]:
        """See `Source.find`."""
        if self.options.get('crop_layers') or self.tile_size:  # needs the image itself
            found = [
                predictor.segment_everything(image, image_format='BGR', top_k=top_k, **self.options)
                for image in images.values()
            ]
        else:
            predictor.set_image_batch(list(images.values()), 'BGR')
            found = [
                predictor.segment_everything(image_index=index, top_k=top_k, **self.options)
                for index in range(len(images))
            ]
        return [[_first(thing) for thing in things] for things in found]


class PromptSource(Source):
    """The answers to the boxes of a prompter, one each and in their order.

    The score is the root of the product of the box's and the best name's, as `OVSAM` has it by
    default.

    Args:
        prompter: Where the boxes come from.
        settings: See `Source`.
        ids: What the prompter calls the images, by their names, where it has names of its own.
    """

    def __init__(
        self, prompter: Prompter, settings: dict, ids: Mapping[str, int | str] | None = None
    ) -> None:
        self.prompter = prompter
        self.settings = settings
        self.ids = ids

    def find(
        self, predictor: OVSAMPredictor, images: Mapping[str, np.ndarray], top_k: int
    ) -> list[list[Found]]:
        """See `Source.find`."""
        predictor.set_image_batch(list(images.values()), 'BGR')
        self.prompter.to(predictor.device)
        return [
            self._find(predictor, index, name, image, top_k)
            for index, (name, image) in enumerate(images.items())
        ]

    def _find(
        self, predictor: OVSAMPredictor, index: int, name: str, image: np.ndarray, top_k: int
    ) -> list[Found]:
        if self.ids is not None and name not in self.ids:
            return []
        img_id = name if self.ids is None else self.ids[name]
        (prompts,) = self.prompter([_sample(img_id, name, image)])
        said = predictor.predict_batch(
            prompts, top_k=top_k, mask_format='rle', image_index=index, keep_logits=False
        )
        scores = said.name_scores[:, 0] if said.name_scores.shape[1] else said.scores
        if prompts.scores is not None:
            scores = np.sqrt(scores * prompts.scores.cpu().numpy())
        return list(map(Found, said.masks, scores.tolist(), said.names, said.name_scores.tolist()))


class FindSource(Source):
    """What `OVSAMPredictor.find` finds of the names of the predictor's vocabulary.

    Args:
        options: Arguments of `find`, and `detector`, whose boxes are the candidates then: see
            `DetectorPrompter`, which keeps those of a score of 0.3 or more here.

    Raises:
        ValueError: An argument is unknown.
    """

    def __init__(self, options: Mapping) -> None:
        taken = ('self', 'names', 'image', 'image_format', 'image_index', 'bboxes', 'output_mode')
        known = _arguments(OVSAMPredictor.find, *taken, 'top_k')
        _check_options(options, [*known, 'detector'])
        check_score_thr(options.get('score_thr', 0))
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
        if self.tile_size is None:
            predictor.set_image_batch(list(images.values()), 'BGR')
        found = []
        for index, (name, image) in enumerate(images.items()):
            boxes = None
            if self.prompter is not None:
                (boxes,) = self.prompter.to(predictor.device)([_sample(name, name, image)])
            which = dict(image_index=index, bboxes=boxes)
            if self.tile_size is not None:
                which = dict(image=image, image_format='BGR')
            things = predictor.find(names, top_k=top_k, **which, **self.options)
            found.append([_first(thing) for thing in things])
        return found


def _first(thing: Mapping) -> Found:
    return Found(*(thing[key] for key in Found._fields))


def _sample(img_id: int | str, name: str, image: np.ndarray) -> DetDataSample:
    return DetDataSample(
        metainfo=dict(img_id=img_id, img_path=name, ori_img=image, ori_shape=image.shape[:2])
    )


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
        _check_options(options, ('annotations', 'filter'))
        boxes = FilePrompter(prompter, filter=options.get('filter'))
        ids = match_images(boxes.images, names, prompter, options.get('annotations'))
        content = np.memmap(prompter, np.uint8, 'r')
        settings['content'] = hashlib.sha256(content).hexdigest()
        return PromptSource(boxes, settings, ids)
    _check_options(options, _arguments(DetectorPrompter, 'detector'))
    detector, settings['content'] = _detector(prompter, **options)
    return PromptSource(detector, settings)


def _detector(detector: str | PathLike, **options) -> tuple[DetectorPrompter, str]:
    """A detector with its weights, and what tells it from others."""
    prompter = DetectorPrompter(detector, **options)
    prompter.init_weights()
    return prompter, module_fingerprint(prompter.detector)


def _arguments(function: Callable, *taken: str) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name not in taken]


def _check_options(options: Mapping, known: Sequence[str]) -> None:
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(
            f'The prompter has no option {", ".join(unknown)}; it has {", ".join(known)}.'
        )
