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
    """Finds the objects of images as instances with masks; options are those of `ObjectFinder`.

    `apply_model` may set `config.confidence_thresh`.
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

        Boxes are relative to the image, masks to their boxes; `top_k` has the best names with their
        probabilities.
        """
        height, width = arg.shape[:2]
        detections = []
        for obj in self._finder(arg, self.config.confidence_thresh):
            x, y, w, h = map(int, coco_mask.toBbox(obj.segmentation))
            mask = coco_mask.decode(obj.segmentation)[y : y + h, x : x + w] > 0
            detections.append(
                fo.Detection(
                    label=obj.names[0],
                    bounding_box=[x / width, y / height, w / width, h / height],
                    mask=mask,
                    confidence=obj.score,
                    top_k=dict(zip(obj.names, obj.name_scores)),
                )
            )
        return fo.Detections(detections=detections)
