"""From images to records of their objects."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path

import mmcv
import numpy as np
from pycocotools import mask as coco_mask

from ...checkpoints.fingerprint import hash_of, module_fingerprint
from ...version import __version__
from ..image_input import read_image
from ..predictor import OVSAMPredictor
from .overlay import draw_objects
from .sources import Found, Source

UNKNOWN = 'unknown'
UNNAMED = 'object'
DIGITS = 5  # of scores
MAX_FAILED = 20  # images in a row that the model fails on, then it is not the images


class Labeler:
    """Finds, cuts out and names the objects of images; arguments as of `auto_label`.

    The model may fail on `max_failed` images in a row, less one.

    Attributes:
        names: Of the classes.
        settings: All that records depend on, besides the images.
    """

    def __init__(
        self,
        predictor: OVSAMPredictor,
        source: Source,
        *,
        score_thr: float,
        unknown_below: float | None,
        top_k: int,
        show_dir: Path | None,
        font: str | PathLike | None = None,
        max_failed: int = MAX_FAILED,
    ) -> None:
        self.predictor = predictor
        self.source = source
        self.score_thr = score_thr
        self.unknown_below = unknown_below
        self.top_k = top_k
        self.show_dir = show_dir
        self.font = font
        self.max_failed = max_failed
        self._failed = 0  # in a row
        self.names = predictor.vocabulary or (UNNAMED,)
        if unknown_below is not None and UNKNOWN not in self.names:
            self.names += (UNKNOWN,)
        model, classifier = predictor.model, predictor.classifier
        self.settings = dict(
            version=__version__,
            model=module_fingerprint(model, without='classifier'),
            test_cfg=model.test_cfg,
            vocabulary=classifier and hash_of([self.names, module_fingerprint(classifier)]),
            **source.settings,
            **({} if predictor.value_range is None else dict(value_range=predictor.value_range)),
            score_thr=score_thr,
            unknown_below=unknown_below,
            top_k=top_k,
            pictures=show_dir is not None,
        )

    def label(self, paths: Mapping[str, Path]) -> list[dict]:
        """Label some images, all at once.

        Args:
            paths: By the images' names.

        Returns:
            A record for each image, see `formats`, or its `file_name` and the `error` for which it
            cannot be read.
        """
        images, errors = {}, {}
        for name, path in paths.items():
            try:
                images[name] = read_image(path, value_range=self.predictor.value_range)
            except (OSError, ValueError) as error:
                errors[name] = str(error)
            except Exception as error:  # no single image ends a run
                errors[name] = repr(error)
        found = self._find(images, errors)
        records = [dict(file_name=name, error=error) for name, error in errors.items()]
        for name, things in found.items():
            image = images[name]
            height, width = image.shape[:2]
            objects = [self._object(thing) for thing in things]
            objects = [o for o in objects if o['area'] and o['score'] >= self.score_thr]
            records.append(dict(file_name=name, width=width, height=height, objects=objects))
            if self.show_dir is not None:
                self._show(name, image, objects)
        return records

    def _find(self, images: Mapping[str, np.ndarray], errors: dict) -> dict[str, list[Found]]:
        """The objects of images; where a batch fails, those of each that does not fail alone."""
        if not images:
            return {}
        try:
            found = self.source.find(self.predictor, images, self.top_k)
        except Exception as error:
            if len(images) > 1:
                alone = [self._find({name: image}, errors) for name, image in images.items()]
                return {name: things for each in alone for name, things in each.items()}
            self._failed += 1
            if self._failed == self.max_failed:
                raise
            errors.update({name: repr(error) for name in images})
            return {}
        self._failed = 0
        return dict(zip(images, found))

    def _object(self, found: Found) -> dict:
        top_k = [
            dict(name=name, score=round(score, DIGITS))
            for name, score in zip(found.names, found.name_scores)
        ]
        best = top_k[0] if top_k else dict(name=UNNAMED, score=1.0)
        known = self.unknown_below is None or best['score'] >= self.unknown_below
        return dict(
            name=best['name'] if known else UNKNOWN,
            score=round(found.score, DIGITS),
            top_k=top_k,
            bbox=coco_mask.toBbox(found.segmentation).tolist(),
            area=int(coco_mask.area(found.segmentation)),
            counts=found.segmentation['counts'],
        )

    def _show(self, name: str, image: np.ndarray, objects: list[dict]) -> None:
        """Draw before the record is written, so that an image with a record has its picture."""
        picture = draw_objects(image, objects, self.names, font=self.font)
        mmcv.imwrite(picture, str(picture_path(self.show_dir, name)))


def picture_path(folder: Path, name: str) -> Path:
    """The file of the picture of an image."""
    path = folder / name
    is_jpeg = path.suffix.lower() in ('.jpg', '.jpeg')
    return path if is_jpeg else path.with_name(f'{path.name}.jpg')
