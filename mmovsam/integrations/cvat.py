"""An automatic annotation function for CVAT's SDK, command line and agents.

`cvat-cli` takes this module as `--function-module` and calls `create` with its parameters.
"""

from __future__ import annotations

from PIL import Image
from pycocotools import mask as coco_mask

from ..apis import OVSAMPredictor
from ..apis.polygons import mask_to_polygons
from .finder import ObjectFinder

try:
    import cvat_sdk.auto_annotation as cvataa
    from cvat_sdk.masks import encode_mask
    from cvat_sdk.models import AttributeValRequest
except ImportError:
    raise ImportError("CVAT's functions need: pip install 'mmovsam[cvat]'") from None


def create(interactive: bool = False, **options) -> DetectionFunction | InteractionFunction:
    """The function of this module, as CVAT's SDK asks for it, for whole images or interactive.

    An interactive one answers points and rectangles. Options are those of `ObjectFinder`.
    """
    finder = ObjectFinder(**options)
    return InteractionFunction(finder.predictor) if interactive else DetectionFunction(finder)


class DetectionFunction:
    """Masks of all objects of an image, or polygons where CVAT wants these.

    Attributes:
        spec: The labels, those of the finder, with ids from 0.
    """

    def __init__(self, finder: ObjectFinder) -> None:
        self._finder = finder
        self._ids = {name: label for label, name in enumerate(finder.names)}
        labels = [cvataa.label_spec(name, label, type='mask') for name, label in self._ids.items()]
        self.spec = cvataa.DetectionFunctionSpec(labels=labels)

    def detect(self, context: cvataa.DetectionFunctionContext, image: Image.Image) -> list:
        """Shapes of the objects of an image; the polygons of one object are a group."""
        shapes = []
        found = self._finder(image, context.conf_threshold)
        for number, thing in enumerate(found, 1):
            label, mask = self._ids[thing.names[0]], coco_mask.decode(thing.segmentation) > 0
            if context.conv_mask_to_poly:
                pieces = [piece.flatten().tolist() for piece in mask_to_polygons(mask)]
                about = dict(score=thing.score, group=number if len(pieces) > 1 else 0)
                shapes += [cvataa.polygon(label, piece, **about) for piece in pieces]
            else:
                shapes.append(cvataa.mask(label, encode_mask(mask), score=thing.score))
        return shapes


class InteractionFunction:
    """The mask of what points and a rectangle mean, as an agent of CVAT asks for it.

    Attributes:
        spec: Which prompts it takes.
    """

    def __init__(self, predictor: OVSAMPredictor) -> None:
        self._predictor = predictor
        self.spec = cvataa.InteractionFunctionSpec(
            min_pos_points=0, min_neg_points=0, min_bounding_boxes=0
        )

    def preprocess_image(
        self, context: cvataa.InteractionFunctionContext, image: Image.Image
    ) -> OVSAMPredictor:
        """A predictor that has the image set."""
        predictor = self._predictor.fork()
        predictor.set_image(image)
        return predictor

    def detect(
        self,
        context: cvataa.InteractionFunctionContext,
        pp_image: OVSAMPredictor,
        prompts: cvataa.InteractionPrompts,
    ) -> list[cvataa.InteractionResultShape]:
        """The mask, with its quality as the confidence; none if only background is clicked."""
        points = [*prompts.pos_points, *prompts.neg_points]
        labels = [1] * len(prompts.pos_points) + [0] * len(prompts.neg_points)
        box = prompts.bounding_box and [*prompts.bounding_box[0], *prompts.bounding_box[1]]
        if box is None and not prompts.pos_points:
            return []
        found = pp_image.predict(points or None, labels or None, box, multimask_output=False)
        (mask,), (score,) = found.masks, found.scores.tolist()
        confidence = AttributeValRequest(
            spec_id=int(cvataa.InteractionResultAttributes.CONFIDENCE), value=f'{score:.3f}'
        )
        shape = cvataa.InteractionResultShape(
            type='mask', points=encode_mask(mask), attributes=[confidence]
        )
        return [shape] if mask.any() else []
