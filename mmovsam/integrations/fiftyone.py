"""A model for FiftyOne's `apply_model`."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from pycocotools import mask as coco_mask

from .finder import ObjectFinder

try:
    import fiftyone as fo
except ImportError:
    raise ImportError("FiftyOne's model needs: pip install 'mmovsam[fiftyone]'") from None


class OVSAMModel(fo.Model):
    """Finds the objects of images, as instances with masks; options are those of `ObjectFinder`.

    `apply_model` sets `confidence_thresh` of `config` where it is given one.
    """

    media_type = 'image'
    transforms = None
    ragged_batches = True
    preprocess = True

    def __init__(self, **options) -> None:
        self._finder = ObjectFinder(**options)
        self.config = SimpleNamespace(confidence_thresh=None)

    def predict(self, arg: np.ndarray) -> fo.Detections:
        """The objects of an image `(H, W, 3)` uint8 RGB.

        Boxes are in parts of the image, masks inside of them; scores are `confidence`, and `top_k`
        has the best names and their probabilities.
        """
        height, width = arg.shape[:2]
        detections = []
        for thing in self._finder(arg, self.config.confidence_thresh):
            x, y, w, h = map(int, coco_mask.toBbox(thing.segmentation))
            mask = coco_mask.decode(thing.segmentation)[y : y + h, x : x + w] > 0
            detections.append(
                fo.Detection(
                    label=thing.names[0],
                    bounding_box=[x / width, y / height, w / width, h / height],
                    mask=mask,
                    confidence=thing.score,
                    top_k=dict(zip(thing.names, thing.name_scores)),
                )
            )
        return fo.Detections(detections=detections)
