"""The predictor on a small random model, as somebody who knows SAM's would use it."""

import cv2
import numpy as np
import pytest
import tiny
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.structures import InstanceData
from small_predictor import BOX, HEIGHT, WIDTH, build, same

from mmovsam.apis import OVSAMPredictor
from mmovsam.checkpoints import save_safetensors
from mmovsam.prompts import Prompts
from mmovsam.vocabulary import TextClassifier


def test_result_unpacks_as_sams_does_and_has_names(predictor):
    prediction = predictor.predict(box=np.array(BOX))
    masks, scores, low_res_logits = prediction
    assert masks.shape == (1, HEIGHT, WIDTH) and masks.dtype == bool
    assert scores.shape == (1,) and low_res_logits.shape == (1, 24, 24) and 0 <= scores[0] <= 1
    assert len(prediction.names[0]) == 5 and set(prediction.names[0]) < set(tiny.NAMES)
    assert prediction.name_scores[0].tolist() == sorted(prediction.name_scores[0])[::-1]
    rows, columns = masks[0].any(1).nonzero()[0], masks[0].any(0).nonzero()[0]
    wanted = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1] if len(rows) else [0] * 4
    assert prediction.bboxes.tolist() == [wanted]
    for top_k, expected in ((1, 1), (99, len(tiny.NAMES))):
        prediction = predictor.predict(box=BOX, top_k=top_k)
        assert len(prediction.names[0]) == prediction.name_scores.shape[1] == expected


@pytest.mark.parametrize('shape', [(HEIGHT, WIDTH), (200, 133), (11, 40)])
def test_numbers_are_those_of_the_test_pipeline(model, tmp_path, shape):
    path = str(tmp_path / 'picture.jpg')
    image = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    cv2.imwrite(path, cv2.GaussianBlur(image, (5, 5), 0))
    boxes = torch.tensor([[1.0, 2.0, 30.0, 9.0], [3.0, 1.0, 39.5, 10.25]])
    keys = ('img_id', 'ori_shape', 'img_shape', 'scale_factor')
    pipeline = Compose(
        [
            dict(type='LoadImageFromFile'),
            dict(type='ResizeLongestSide', size=tiny.SIZE),
            dict(type='PackDetInputs', meta_keys=keys),
        ]
    )
    packed = pipeline(dict(img_path=path, img_id=1))
    sample = packed['data_samples']
    sample.gt_instances = InstanceData(bboxes=boxes)
    (found,) = model.test_step(dict(inputs=[packed['inputs']], data_samples=[sample]))
    expected = found.pred_instances

    predictor = OVSAMPredictor(model)
    predictor.set_image(path)
    prediction = predictor.predict_batch(Prompts(bboxes=boxes))
    assert np.array_equal(prediction.masks, expected.masks.numpy())
    assert np.array_equal(prediction.name_scores, expected.topk_scores.numpy())
    classes = model.classifier.names
    assert prediction.names == [[classes[i] for i in row] for row in expected.topk_labels]


def test_box_that_reaches_out_of_the_image_is_cut_off(predictor):
    outside = predictor.predict(box=[-30, -5, 40, 900])
    assert same(outside, predictor.predict(box=[0, 0, 40, HEIGHT]))


def test_vocabulary_changes_without_encoding_the_image_again(model, picture, monkeypatch):
    predictor = OVSAMPredictor(model, text_encoder=dict(model=tiny.CLIP))
    predictor.set_image(picture)
    monkeypatch.setattr(model, 'extract_feat', None)
    predictor.set_vocabulary(['plum', 'heart'])
    assert predictor.vocabulary == ('plum', 'heart')
    prediction = predictor.predict(box=BOX)
    assert set(prediction.names[0]) == {'plum', 'heart'}
    assert prediction.name_scores.sum() <= 1.0001
    predictor.set_vocabulary(TextClassifier(torch.randn(3, 1, tiny.WIDTH)))
    assert set(predictor.predict(box=BOX).names[0]) == {'0', '1', '2'}  # it came without names
    assert predictor.vocabulary == ('0', '1', '2')


def test_model_without_names_or_without_a_vocabulary(picture):
    predictor = OVSAMPredictor(MODELS.build(tiny.SAM))
    predictor.set_image(picture)
    prediction = predictor.predict(box=BOX)
    assert prediction.names == [[]] and prediction.name_scores.shape == (1, 0)
    assert 0 <= prediction.scores[0] <= 1 and predictor.vocabulary == ()
    with pytest.raises(ValueError, match='segments only'):
        predictor.set_vocabulary(tiny.vocabulary())
    predictor = OVSAMPredictor(MODELS.build(tiny.OVSAM))
    predictor.set_image(picture)
    assert predictor.vocabulary == ()
    with pytest.raises(ValueError, match='call set_vocabulary first'):
        predictor.predict(box=BOX)


@pytest.mark.parametrize('shape', [(1, 1), (1, 400), (8000, 1)])
def test_images_of_one_pixel_have_a_result(predictor, shape):
    predictor.set_image(np.full((*shape, 3), 90, np.uint8))
    height, width = shape
    for prompt in (
        dict(box=[0, 0, width, height]),
        dict(point_coords=[[width - 1, height - 1]], point_labels=[1]),
    ):
        prediction = predictor.predict(**prompt)
        assert prediction.masks.shape == (1, *shape)
        assert np.isfinite(prediction.low_res_logits).all()
        assert np.isfinite(prediction.name_scores).all()


@pytest.mark.parametrize(
    'prompt, message',
    [
        ({}, 'needs point_coords with point_labels, a box, or a mask_input'),
        (dict(point_labels=[1]), 'point_coords, .* and point_labels, .* together'),
        (dict(point_coords=[[1, 2]]), 'point_labels, 1 foreground and 0 background, together'),
        (dict(point_coords=[1, 2], point_labels=[1]), r'\(P, 2\).*shape \(2,\)'),
        (dict(point_coords=[[1, 2]], point_labels=[1, 0]), r'each of 1 points.*\(2,\)'),
        (dict(point_coords=[[1, 2]], point_labels=[0.5]), r'got \[0.5\]'),
        (dict(point_coords=[[81, 2]], point_labels=[1]), r'\[81.0, 2.0\].*image of 80x60'),
        (dict(point_coords=[[np.nan, 2]], point_labels=[1]), r'\[nan, 2.0\] is not inside'),
        (dict(box=[1, 2, 3]), r'shape \(3,\)'),
        (dict(box=[10, 2, 10, 9]), r'\[10.0, 2.0, 10.0, 9.0\] is empty, inverted'),
        (dict(box=[10, 2, np.nan, 9]), 'nan, 9.0.* not finite'),
        (dict(box=[BOX, BOX]), r'shape \(2, 4\).*call predict_batch'),
        (dict(box='left'), "box must be an array of numbers, got 'left'"),
        (dict(box=[80, 0, 90, 9]), r'\[80.0, 0.0, 90.0, 9.0\] is outside.*80x60'),
        (dict(mask_input=np.zeros((24, 24))), r'mask_input is \(1, 24, 24\).*shape \(24, 24\)'),
        (dict(mask_input=np.full((1, 24, 24), np.nan)), 'NaN'),
        (dict(box=BOX, top_k=0), 'top_k must be at least 1'),
    ],
)
def test_bad_prompt_is_refused(predictor, prompt, message):
    with pytest.raises(ValueError, match=message):
        predictor.predict(**prompt)


def test_what_needs_an_image_says_to_set_one_first(predictor):
    assert predictor.is_image_set
    predictor.reset_image()
    assert not predictor.is_image_set
    for call in (
        lambda: predictor.predict(box=BOX),
        lambda: predictor.predict_batch([dict(box=BOX)]),
        lambda: predictor.save_features('none.safetensors'),
        lambda: predictor.find(['dog']),
        lambda: predictor.segment_everything(),
    ):
        with pytest.raises(RuntimeError, match='No image is set.*call set_image'):
            call()


@pytest.mark.parametrize(
    'names, error, message',
    [
        (['plum'], ValueError, 'give it to OVSAMPredictor'),
        ([], ValueError, 'at least one class name'),
        (['plum', 'plum'], ValueError, 'more than once'),
        ('plum', TypeError, 'must be a list'),
        (TextClassifier(torch.ones(3, 1, 7)), ValueError, f'width 7 and the model {tiny.WIDTH}'),
    ],
)
def test_bad_names_are_refused(predictor, names, error, message):
    with pytest.raises(error, match=message):
        predictor.set_vocabulary(names)
    assert predictor.vocabulary == tiny.NAMES


def test_another_model_than_an_ovsam_is_refused():
    with pytest.raises(TypeError, match='needs an OVSAM, not a Linear'):
        OVSAMPredictor(torch.nn.Linear(1, 1))


@pytest.fixture
def config(tmp_path):
    cfg = dict(model=tiny.OVSAM, text_encoder=dict(model=tiny.CLIP))
    Config(cfg).dump(tmp_path / 'tiny.py')
    return tmp_path / 'tiny.py'


def test_config_and_checkpoint_give_a_predictor(config, picture, tmp_path):
    model = build()
    save_safetensors(model.state_dict(), tmp_path / 'tiny.safetensors')
    wrapped = {f'module.{name}': value for name, value in model.state_dict().items()}
    torch.save(dict(state_dict=wrapped), tmp_path / 'distributed.pth')
    predictors = [OVSAMPredictor(model)]
    for name in ('tiny.safetensors', 'distributed.pth'):
        predictors.append(OVSAMPredictor.from_config(config, tmp_path / name))
        predictors[-1].set_vocabulary(list(tiny.NAMES))
    for predictor in predictors:
        predictor.set_image(picture)
    expected, *others = (predictor.predict(box=BOX).low_res_logits for predictor in predictors)
    assert all(np.array_equal(logits, expected) for logits in others)


def test_weights_that_do_not_make_the_model_are_refused(config, tmp_path):
    state = build().state_dict()
    wrong = {
        'some.pth': {name: state[name] for name in list(state)[:9]},
        'shape.pth': {**state, 'neck.level_encoding.weight': torch.zeros(4, 7)},
        'other.pth': {'weight': torch.zeros(1)},
    }
    for name, content in wrong.items():
        torch.save(content, tmp_path / name)
    for arguments, error, message in [
        ((config,), ValueError, 'names no weights'),
        ((config, 'none.pth'), FileNotFoundError, 'none.pth'),
        ((config, tmp_path / 'some.pth'), ValueError, 'not in the checkpoint'),
        ((config, tmp_path / 'shape.pth'), ValueError, 'another shape'),
        ((config, tmp_path / 'other.pth'), ValueError, 'Nothing in the checkpoint belongs'),
        (('mini/none.py',), FileNotFoundError, 'no config mini/none.py.*mini/ovsam_mini.py'),
    ]:
        with pytest.raises(error, match=message):
            OVSAMPredictor.from_config(*arguments)
