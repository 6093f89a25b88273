"""The model for FiftyOne, with a stand-in for its labels."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from pycocotools import mask as coco_mask


@pytest.fixture
def fiftyone(module, fresh):
    module('fiftyone', Model=object, Detection=SimpleNamespace, Detections=SimpleNamespace)
    return fresh('fiftyone')


@pytest.fixture
def model(fiftyone, scene):
    options = dict(candidates=dict(points_per_side=8))
    return fiftyone.OVSAMModel(model='mini/ovsam_mini_boxes.py', names=scene.names, **options)


def test_detections_are_the_objects_with_masks_in_their_boxes(model, scene):
    height, width = scene.image.shape[:2]
    detections = model.predict(scene.image).detections
    found = model._finder(scene.image)
    assert detections
    for detection, thing in zip(detections, found, strict=True):
        assert detection.label == thing.names[0] and detection.confidence == thing.score
        assert detection.top_k == dict(zip(thing.names, thing.name_scores))
        x, y, w, h = np.array(detection.bounding_box) * [width, height, width, height]
        x, y, w, h = (round(value) for value in (x, y, w, h))
        assert detection.mask.shape == (h, w) and detection.mask.dtype == bool
        whole = np.zeros((height, width), bool)
        whole[y : y + h, x : x + w] = detection.mask
        assert np.array_equal(whole, coco_mask.decode(thing.segmentation) > 0)


def test_threshold_of_apply_model_is_the_models(model, scene):
    scores = [each.confidence for each in model.predict(scene.image).detections]
    assert len(scores) > 2
    model.config.confidence_thresh = scores[1]
    assert [each.confidence for each in model.predict(scene.image).detections] == scores[:2]
    assert (model.media_type, model.transforms, model.ragged_batches) == ('image', None, True)


def test_missing_package_is_named_with_the_command_that_brings_it(fresh, monkeypatch):
    monkeypatch.setitem(sys.modules, 'fiftyone', None)
    with pytest.raises(ImportError, match=r"pip install 'mmovsam\[fiftyone\]'"):
        fresh('fiftyone')
