"""Labels images: from images to records of their objects."""

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
from .sources import Detection, Source

UNKNOWN = 'unknown'
MAX_FAILED = 20  # consecutive failures of the model after which a run stops


@dataclass
class Labeler:
    """Segments and names the objects of images; arguments as of `auto_label`.

    An error of the model is raised at `max_failed` images in a row.

    Attributes:
        names: Class names.
        settings: The settings that records depend on.
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
        self._num_failed = 0  # in a row
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
        """The image of a file, or the error message if it cannot be read."""
        try:
            return self.source.read(path, self.predictor.value_range)
        except (OSError, ValueError) as error:
            return str(error)
        except Exception as error:  # no single image ends a run
            return repr(error)

    def label(self, batch: Mapping[str, np.ndarray | LargeImage | str]) -> list[dict]:
        """Records, see `formats`, of a batch of images, which are results of `read` by name.

        Those of unreadable images have `file_name` and `error`.
        """
        errors = {name: image for name, image in batch.items() if isinstance(image, str)}
        images = {name: image for name, image in batch.items() if name not in errors}
        detections = self._detect(images, errors)
        records = [dict(file_name=name, error=error) for name, error in errors.items()]
        for name in detections:
            image = images[name]
            height, width = image.shape[:2]
            objects = map(self._object, detections[name])
            objects = [o for o in objects if o['area'] and o['score'] >= self.score_thr]
            record = dict(file_name=name, width=width, height=height, objects=objects)
            if self.with_polygons:
                for thing in objects:
                    thing['polygons'] = [ring.tolist() for ring in object_polygons(record, thing)]
            records.append(record)
            if self.show_dir is not None:  # before the record is written
                if isinstance(image, LargeImage):
                    image = image.window(0, 0, width, height)
                picture = draw_objects(image, objects, self.names, font=self.font)
                _, data = cv2.imencode('.jpg', picture)
                mark_results(self.show_dir)
                write_atomic(picture_path(self.show_dir, name), data.tobytes())
        return records

    def _detect(
        self, images: Mapping[str, np.ndarray | LargeImage], errors: dict
    ) -> dict[str, list[Detection]]:
        """Detections by image; if a batch fails, its images are tried one by one.

        `errors` gets those of images that fail alone.
        """
        if not images:
            return {}
        try:
            detections = self.source.find(self.predictor, images, self.top_k)
        except Exception as error:
            if len(images) > 1:
                detections = {}
                for name, image in images.items():
                    detections.update(self._detect({name: image}, errors))
                return detections
            self._num_failed += 1
            if self._num_failed == self.max_failed:
                raise
            errors.update({name: repr(error) for name in images})
            return {}
        self._num_failed = 0
        return dict(zip(images, detections))

    def _object(self, detection: Detection) -> dict:
        segmentation, score, names, name_scores = detection
        name = names[0] if names else UNNAMED
        record = object_record(name, score, segmentation, names, name_scores)
        best_score = record['top_k'][0]['score'] if names else 1
        if self.unknown_below is not None and best_score < self.unknown_below:
            record['name'] = UNKNOWN
        return record


def picture_path(folder: Path, name: str) -> Path:
    """The file of an image's picture."""
    path = folder / name
    is_jpeg = path.suffix.lower() in ('.jpg', '.jpeg')
    return path if is_jpeg else path.with_name(f'{path.name}.jpg')
