"""From images to records of their objects."""

from __future__ import annotations

from collections.abc import Mapping
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


class Labeler:
    """Finds, cuts out and names the objects of images; arguments as of `auto_label`.

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
    ) -> None:
        self.predictor = predictor
        self.source = source
        self.score_thr = score_thr
        self.unknown_below = unknown_below
        self.top_k = top_k
        self.show_dir = show_dir
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
                images[name] = read_image(path)
            except (OSError, ValueError) as error:
                errors[name] = str(error)
        found = self.source.find(self.predictor, images, self.top_k) if images else []
        records = [dict(file_name=name, error=error) for name, error in errors.items()]
        for (name, image), things in zip(images.items(), found):
            height, width = image.shape[:2]
            objects = [self._object(thing) for thing in things]
            objects = [o for o in objects if o['area'] and o['score'] >= self.score_thr]
            records.append(dict(file_name=name, width=width, height=height, objects=objects))
            if self.show_dir is not None:
                self._show(name, image, objects)
        return records

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
        path = self.show_dir / name
        if path.suffix.lower() not in ('.jpg', '.jpeg'):
            path = path.with_name(f'{path.name}.jpg')
        mmcv.imwrite(draw_objects(image, objects, self.names), str(path))
