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
    """A function for CVAT's SDK: detection, or interactive segmentation by points and rectangles.

    Options are those of `ObjectFinder`.
    """
    finder = ObjectFinder(**options)
    return InteractionFunction(finder.predictor) if interactive else DetectionFunction(finder)


class DetectionFunction:
    """Finds the objects of images, as masks or, if CVAT asks for them, polygons.

    Attributes:
        spec: The labels of the finder, with ids from 0.
    """

    def __init__(self, finder: ObjectFinder) -> None:
        self._finder = finder
        self._ids = {name: label for label, name in enumerate(finder.names)}
        labels = [cvataa.label_spec(name, label, type='mask') for name, label in self._ids.items()]
        self.spec = cvataa.DetectionFunctionSpec(labels=labels)

    def detect(self, context: cvataa.DetectionFunctionContext, image: Image.Image) -> list:
        """Shapes of the objects of an image; the polygons of an object are a group."""
        shapes = []
        for number, obj in enumerate(self._finder(image, context.conf_threshold), 1):
            label, mask = self._ids[obj.names[0]], coco_mask.decode(obj.segmentation) > 0
            if context.conv_mask_to_poly:
                polygons = [polygon.flatten().tolist() for polygon in mask_to_polygons(mask)]
                group = number if len(polygons) > 1 else 0
                shapes += [
                    cvataa.polygon(label, polygon, score=obj.score, group=group)
                    for polygon in polygons
                ]
            else:
                shapes.append(cvataa.mask(label, encode_mask(mask), score=obj.score))
        return shapes


class InteractionFunction:
    """Segments an object by points and a rectangle, for an agent of CVAT.

    Attributes:
        spec: The supported prompts.
    """

    def __init__(self, predictor: OVSAMPredictor) -> None:
        self._predictor = predictor
        self.spec = cvataa.InteractionFunctionSpec(
            min_pos_points=0, min_neg_points=0, min_bounding_boxes=0
        )

    def preprocess_image(
        self, context: cvataa.InteractionFunctionContext, image: Image.Image
    ) -> OVSAMPredictor:
        """A predictor with the image set."""
        predictor = self._predictor.fork()
        predictor.set_image(image)
        return predictor

    def detect(
        self,
        context: cvataa.InteractionFunctionContext,
        pp_image: OVSAMPredictor,
        prompts: cvataa.InteractionPrompts,
    ) -> list[cvataa.InteractionResultShape]:
        """The mask with its quality as confidence; none for background points alone."""
        points = [*prompts.pos_points, *prompts.neg_points]
        labels = [1] * len(prompts.pos_points) + [0] * len(prompts.neg_points)
        box = prompts.bounding_box and [*prompts.bounding_box[0], *prompts.bounding_box[1]]
        if box is None and not prompts.pos_points:
            return []
        prediction = pp_image.predict(points or None, labels or None, box, multimask_output=False)
        (mask,), (score,) = prediction.masks, prediction.scores.tolist()
        confidence = AttributeValRequest(
            spec_id=int(cvataa.InteractionResultAttributes.CONFIDENCE), value=f'{score:.3f}'
        )
        shape = cvataa.InteractionResultShape(
            type='mask', points=encode_mask(mask), attributes=[confidence]
        )
        return [shape] if mask.any() else []
