"""The predictor, its files and everything-mode with a model for photographs."""

import numpy as np
import pytest
import tiny
import tiny_photo
import torch
from small_predictor import HEIGHT, WIDTH, same

from mmovsam.apis import OVSAMPredictor

PARTS = dict(tiny_photo.WINDOWS, region_namer=tiny_photo.NAMER)
PROMPTS = dict(
    box=dict(box=[10, 12, 50, 40]),
    points=dict(point_coords=[[30, 20], [70, 50]], point_labels=[1, 0]),
    both=dict(box=[10, 12, 50, 40], point_coords=[[30, 20]], point_labels=[1]),
)


@pytest.fixture(scope='module')
def model():
    return tiny_photo.build(**PARTS)


@pytest.fixture(scope='module')
def picture():
    return tiny_photo.drawn((HEIGHT, WIDTH), 0)[0]


@pytest.fixture
def predictor(model, picture):
    predictor = OVSAMPredictor(model)
    predictor.set_image(picture)
    return predictor


@pytest.mark.parametrize('kind', PROMPTS)
@pytest.mark.parametrize('multimask_output', [False, True])
def test_masks_have_the_image_size_and_can_be_refined(predictor, kind, multimask_output):
    count = 3 if multimask_output else 1
    result = predictor.predict(**PROMPTS[kind], multimask_output=multimask_output)
    assert result.masks.shape == (count, HEIGHT, WIDTH)
    assert result.low_res_logits.shape == (count, 128, 128)
    assert np.isfinite(result.scores).all() and len(result.names) == count
    again = predictor.predict(**PROMPTS[kind], mask_input=result.low_res_logits[:1])
    assert np.isfinite(again.low_res_logits).all()
    assert np.abs(again.low_res_logits[0] - result.low_res_logits[0]).max() > 1e-3


@pytest.fixture(scope='module')
def proposing():
    """A model that proposes boxes and looks at crops."""
    model = tiny_photo.build(**PARTS, proposal_head=tiny_photo.PROPOSALS, region_crop=64)
    torch.nn.init.normal_(model.proposal_head.score.weight, std=0.5)
    torch.nn.init.normal_(model.proposal_head.box.weight, std=0.05)
    return model


def test_everything_mode_asks_about_proposed_boxes(proposing, picture):
    predictor = OVSAMPredictor(proposing)
    predictor.set_image(picture)
    settings = dict(quality_thr=0, stability_thr=0, proposal_thr=0, min_area=1)
    found = predictor.segment_everything(num_proposals=20, nms_iou=1, **settings)
    assert 0 < len(found) <= 20
    quality = [thing['predicted_iou'] * thing['proposal_score'] for thing in found]
    assert quality == sorted(quality, reverse=True) and all(quality)
    thing = found[0]
    (x, y), (left, top, width, height) = thing['point_coords'][0], thing['bbox']
    assert 0 <= x <= WIDTH and 0 <= y <= HEIGHT
    assert left + width <= WIDTH and top + height <= HEIGHT
    few = predictor.segment_everything(num_proposals=3, nms_iou=1, **settings)
    assert len(few) <= 3
    settings['proposal_thr'] = (quality[0] + quality[-1]) / 2
    good = predictor.segment_everything(num_proposals=20, nms_iou=1, **settings)
    assert 0 < len(good) < len(found)
    # points are asked where they are wanted
    points = predictor.segment_everything(points_per_side=2, nms_iou=1, **settings)
    assert points and 'proposal_score' not in points[0]


def test_crops_are_named_from_a_file_of_features_too(proposing, picture, tmp_path):
    predictor = OVSAMPredictor(proposing)
    predictor.set_image(picture)
    expected = predictor.predict(**PROMPTS['box'])
    predictor.save_features(tmp_path / 'one.safetensors')
    restored = OVSAMPredictor(proposing, cache_size=0)
    restored.load_features(tmp_path / 'one.safetensors')
    assert same(restored.predict(**PROMPTS['box']), expected)
    without = OVSAMPredictor(tiny_photo.build(**PARTS))
    without.set_image(picture)
    assert not np.array_equal(without.predict(**PROMPTS['box']).name_scores, expected.name_scores)


def test_found_objects_count_less_the_less_certain_their_box_was(proposing, picture):
    predictor = OVSAMPredictor(proposing)
    predictor.set_image(picture)
    settings = dict(quality_thr=0, stability_thr=0, proposal_thr=0, min_area=1, nms_iou=1)
    names = list(tiny.NAMES)
    found = predictor.find(names, score_thr=0.0, background=[], candidates=settings)
    assert found
    for thing in found:
        highest = thing['name_scores'][0] * thing['predicted_iou']
        certainty = min(1, thing['proposal_score'] / 0.44) ** 0.5
        assert thing['score'] == pytest.approx(highest * certainty, rel=1e-3)
