"""CVAT's functions, with a stand-in for its SDK that keeps what it is given."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from mmovsam.apis import OVSAMPredictor

OPTIONS = dict(model='mini/ovsam_mini_boxes.py', candidates=dict(points_per_side=8))


def kept(type):
    return lambda *given, **more: SimpleNamespace(type=type, given=given, **more)


def named(**given):
    return SimpleNamespace(**given)


@pytest.fixture
def cvat(module, fresh):
    module('cvat_sdk')
    module(
        'cvat_sdk.auto_annotation',
        label_spec=lambda name, id, type: SimpleNamespace(name=name, id=id, type=type),
        mask=kept('mask'),
        polygon=kept('polygon'),
        DetectionFunctionSpec=named,
        InteractionFunctionSpec=named,
        InteractionResultShape=named,
        InteractionResultAttributes=SimpleNamespace(CONFIDENCE=0),
    )
    module('cvat_sdk.masks', encode_mask=lambda mask: mask)
    module('cvat_sdk.models', AttributeValRequest=named)
    return fresh('cvat')


def frame(conf_threshold=None, conv_mask_to_poly=False):
    return named(
        frame_name='1.png', conf_threshold=conf_threshold, conv_mask_to_poly=conv_mask_to_poly
    )


@pytest.fixture
def function(cvat, scene):
    return cvat.create(names=scene.names, **OPTIONS)


def test_labels_are_the_names_and_shapes_are_masks_of_them(function, scene):
    assert [label.name for label in function.spec.labels] == scene.names
    assert {label.type for label in function.spec.labels} == {'mask'}
    names = {label.id: label.name for label in function.spec.labels}
    predictor = OVSAMPredictor.from_config(OPTIONS['model'])
    predictor.set_vocabulary(scene.names)
    classifier = predictor.classifier
    own = classifier.subset(range(len(scene.names)), scene.names)
    expected = predictor.find(
        own, scene.image, output_mode='mask', candidates=OPTIONS['candidates']
    )
    shapes = function.detect(frame(), Image.fromarray(scene.image))
    assert shapes
    for shape, thing in zip(shapes, expected, strict=True):
        label, mask = shape.given
        assert (shape.type, names[label], shape.score) == ('mask', thing['name'], thing['score'])
        assert mask.dtype == bool and np.array_equal(mask, thing['segmentation'])


def test_threshold_of_the_task_takes_the_place_of_the_default(function, scene):
    image = Image.fromarray(scene.image)
    scores = [shape.score for shape in function.detect(frame(0.0), image)]
    assert len(scores) > 2
    found = function.detect(frame(scores[1]), image)
    assert [shape.score for shape in found] == scores[:2]
    kept = [score for score in scores if score >= 0.5]
    assert [shape.score for shape in function.detect(frame(), image)] == kept


def test_polygons_of_an_object_are_a_group(function, scene):
    height, width = scene.image.shape[:2]
    masks = function.detect(frame(0.05), Image.fromarray(scene.image))
    pieces = function.detect(frame(0.05, True), Image.fromarray(scene.image).convert('RGBA'))
    groups = {}
    for number, piece in enumerate(pieces):
        assert piece.type == 'polygon'
        groups.setdefault(piece.group or f'alone {number}', []).append(piece)
    for shape, group in zip(masks, groups.values(), strict=True):
        label, mask = shape.given
        assert {piece.given[0] for piece in group} == {label}
        rings = coco_mask.frPyObjects([piece.given[1] for piece in group], height, width)
        found = coco_mask.decode(coco_mask.merge(rings)) > 0
        assert (found & mask).sum() > 0.85 * (found | mask).sum()


def test_points_and_a_rectangle_give_a_mask(cvat, scene):
    function = cvat.create(interactive=True, model=OPTIONS['model'])
    assert vars(function.spec) == dict(min_pos_points=0, min_neg_points=0, min_bounding_boxes=0)
    opened = function.preprocess_image(None, Image.fromarray(scene.image))
    predictor = OVSAMPredictor.from_config(OPTIONS['model'])
    predictor.set_image(scene.image)
    rows, columns = np.nonzero(scene.masks[0])
    x1, y1, x2, y2 = map(float, scene.boxes[0])
    point, far = (float(columns[len(rows) // 2]), float(rows[len(rows) // 2])), (1.0, 1.0)
    box = ((x1, y1), (x2, y2))
    for pos, neg, corners in (([point], [], None), ([], [far], box), ([point], [far], box)):
        prompts = SimpleNamespace(pos_points=pos, neg_points=neg, bounding_box=corners)
        (shape,) = function.detect(None, opened, prompts)
        expected = predictor.predict(
            [*pos, *neg] or None,
            [1] * len(pos) + [0] * len(neg) or None,
            corners and [x1, y1, x2, y2],
            multimask_output=False,
        )
        assert shape.type == 'mask' and np.array_equal(shape.points, expected.masks[0])
        (confidence,) = shape.attributes
        assert confidence.spec_id == 0
        assert float(confidence.value) == pytest.approx(expected.scores[0], abs=1e-3)
    nothing = SimpleNamespace(pos_points=[], neg_points=[far], bounding_box=None)
    assert function.detect(None, opened, nothing) == []


def test_missing_sdk_is_named_with_the_command_that_brings_it(fresh, monkeypatch):
    monkeypatch.setitem(sys.modules, 'cvat_sdk', None)
    with pytest.raises(ImportError, match=r"pip install 'mmovsam\[cvat\]'"):
        fresh('cvat')
