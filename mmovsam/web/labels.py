"""The parts of a user's work: a prompt, the model's answer to it, an object of the list."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from pycocotools import mask as coco_mask

from ..apis.auto_labeling.formats import object_record
from ..apis.inference_results import run_lengths
from ..apis.polygons import svg_path


@dataclass(frozen=True)
class Prompt:
    """What was clicked for the object in work, in pixels of the picture."""

    points: tuple[tuple[float, float, int], ...] = ()
    """x, y, and 1 where the object is or 0 where it is not."""
    box: tuple[float, float, float, float] | None = None
    """xyxy."""
    corner: tuple[float, float] | None = None
    """xy of a box whose other corner is still to come."""

    @property
    def asks(self) -> bool:
        """Whether a mask can be the answer."""
        return bool(self.points) or self.box is not None


@dataclass(frozen=True, eq=False)
class Answer:
    """What the model says of the object in work."""

    mask: np.ndarray
    """`(H, W)` bool."""
    quality: float
    """Predicted, from 0 to 1."""
    names: tuple[str, ...]
    """The best ones, best first; none from a model that only segments."""
    name_scores: tuple[float, ...]
    """Their probabilities."""

    @cached_property
    def outline(self) -> str:
        """See `mmovsam.apis.polygons.svg_path`."""
        return svg_path(self.mask)

    @cached_property
    def segmentation(self) -> dict:
        """Run lengths as COCO's JSON has them, `counts` as text."""
        return run_lengths([coco_mask.encode(np.asfortranarray(self.mask, np.uint8))])[0]


@dataclass(frozen=True, eq=False)
class LabeledObject:
    """An object of the list."""

    number: int
    """Its own among those of the session."""
    name: str
    names: tuple[str, ...]
    """The model's best names."""
    name_scores: tuple[float, ...]
    """Their probabilities."""
    segmentation: dict
    """Run lengths as COCO's JSON has them, `counts` as text."""

    @property
    def score(self) -> float:
        """The model's probability of the name; 1 for one that only a person gave."""
        return dict(zip(self.names, self.name_scores)).get(self.name, 1.0)

    @cached_property
    def bbox(self) -> list[float]:
        """x, y, width, height of the mask in pixels."""
        return coco_mask.toBbox(self.segmentation).tolist()

    @cached_property
    def outline(self) -> str:
        """See `mmovsam.apis.polygons.svg_path`."""
        return svg_path(coco_mask.decode(self.segmentation))

    def renamed(self, name: str) -> LabeledObject:
        """The same object by another name.

        Raises:
            ValueError: The name is blank.
        """
        name = ' '.join(name.split())
        if not name:
            raise ValueError('A name is missing: type one.')
        return replace(self, name=name)

    def as_record(self) -> dict:
        """As `mmovsam.apis.auto_labeling.formats` has it."""
        return object_record(self.name, self.score, self.segmentation, self.names, self.name_scores)
