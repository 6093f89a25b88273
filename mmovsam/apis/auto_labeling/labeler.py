"""From images to records of their objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import cv2
import numpy as np

from ...fileio import mark_results, write_atomic
from ..large_image import LargeImage
from ..predictor import OVSAMPredictor
from .formats import UNNAMED, object_polygons, object_record
from .journal import model_settings
from .overlay import draw_objects
from .sources import Found, Source

UNKNOWN = 'unknown'
MAX_FAILED = 20  # images in a row that the model fails on, then it is not the images


@dataclass
class Labeler:
    """Finds, cuts out and names the objects of images; arguments as of `auto_label`.

    The model may fail on `max_failed` images in a row, less one.

    Attributes:
        names: Of the classes.
        settings: All that records depend on, besides the images.
    """

    predictor: OVSAMPredictor
    source: Source
    score_thr: float
    unknown_below: float | None
    top_k: int
    show_dir: Path | None
    font: str | PathLike | None
    with_polygons: bool
    max_failed: int

    def __post_init__(self) -> None:
        self._failed = 0  # in a row
        self.names = self.predictor.vocabulary or (UNNAMED,)
        if self.unknown_below is not None and UNKNOWN not in self.names:
            self.names += (UNKNOWN,)
        self.settings = dict(
            **model_settings(self.predictor, self.names),
            **self.source.settings,
            score_thr=self.score_thr,
            unknown_below=self.unknown_below,
            top_k=self.top_k,
            pictures=self.show_dir is not None,
        )

    def read(self, path: Path) -> np.ndarray | LargeImage | str:
        """The image of a file, or the error for which it cannot be read."""
        try:
            return self.source.read(path, self.predictor.value_range)
        except (OSError, ValueError) as error:
            return str(error)
        except Exception as error:  # no single image ends a run
            return repr(error)

    def label(self, given: Mapping[str, np.ndarray | LargeImage | str]) -> list[dict]:
        """Label some images, by their names as `read` returns them, all at once.

        Returns:
            A record for each image, see `formats`, or its `file_name` and the `error` for which it
            cannot be read.
        """
        errors = {name: image for name, image in given.items() if isinstance(image, str)}
        images = {name: image for name, image in given.items() if name not in errors}
        found = self._find(images, errors)
        records = [dict(file_name=name, error=error) for name, error in errors.items()]
        for name, things in found.items():
            image = images[name]
            height, width = image.shape[:2]
            objects = [self._object(thing) for thing in things]
            objects = [o for o in objects if o['area'] and o['score'] >= self.score_thr]
            record = dict(file_name=name, width=width, height=height, objects=objects)
            if self.with_polygons:
                for thing in objects:
                    thing['polygons'] = [ring.tolist() for ring in object_polygons(record, thing)]
            records.append(record)
            if self.show_dir is not None:  # so that an image with a record has its picture
                if isinstance(image, LargeImage):
                    image = image.window(0, 0, width, height)
                picture = draw_objects(image, objects, self.names, font=self.font)
                _, data = cv2.imencode('.jpg', picture)
                mark_results(self.show_dir)
                write_atomic(picture_path(self.show_dir, name), data.tobytes())
        return records

    def _find(
        self, images: Mapping[str, np.ndarray | LargeImage], errors: dict
    ) -> dict[str, list[Found]]:
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
        name = found.names[0] if found.names else UNNAMED
        record = object_record(name, found.score, found[0], found.names, found.name_scores)
        best = record['top_k'][0]['score'] if found.names else 1
        if self.unknown_below is not None and best < self.unknown_below:
            record['name'] = UNKNOWN
        return record


def picture_path(folder: Path, name: str) -> Path:
    """The file of the picture of an image."""
    path = folder / name
    is_jpeg = path.suffix.lower() in ('.jpg', '.jpeg')
    return path if is_jpeg else path.with_name(f'{path.name}.jpg')
