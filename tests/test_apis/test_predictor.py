"""The predictor on a small random model, as somebody who knows SAM's would use it."""

import resource
import sys

import cv2
import numpy as np
import pytest
import tiny
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
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
    assert scores.shape == (1,) and low_res_logits.shape == (1, 24, 24)
    assert prediction.bboxes.shape == (1, 4) and prediction.name_scores.shape == (1, 5)
    assert len(prediction.names[0]) == 5 and set(prediction.names[0]) < set(tiny.NAMES)
    assert prediction.name_scores[0].tolist() == sorted(prediction.name_scores[0])[::-1]
    assert 0 <= scores[0] <= 1
    rows, columns = masks[0].any(1).nonzero()[0], masks[0].any(0).nonzero()[0]
    wanted = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1] if len(rows) else [0] * 4
    assert prediction.bboxes[0].tolist() == wanted


@pytest.mark.parametrize('top_k, expected', [(1, 1), (3, 3), (99, len(tiny.NAMES))])
def test_top_k_says_how_many_names_a_mask_gets(predictor, top_k, expected):
    prediction = predictor.predict(box=BOX, top_k=top_k)
    assert len(prediction.names[0]) == prediction.name_scores.shape[1] == expected


@pytest.mark.parametrize('shape', [(HEIGHT, WIDTH), (200, 133), (11, 40)])
def test_numbers_are_those_of_the_test_pipeline(model, tmp_path, shape):
    path = str(tmp_path / 'picture.jpg')
    image = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    cv2.imwrite(path, cv2.GaussianBlur(image, (5, 5), 0))
    boxes = torch.tensor([[1.0, 2.0, 30.0, 9.0], [3.0, 1.0, 39.5, 10.25]])
    pipeline = Compose(
        [
            dict(type='LoadImageFromFile'),
            dict(type='ResizeLongestSide', size=tiny.SIZE),
            dict(
                type='PackDetInputs', meta_keys=('img_id', 'ori_shape', 'img_shape', 'scale_factor')
            ),
        ]
    )
    packed = pipeline(dict(img_path=path, img_id=1))
    sample: DetDataSample = packed['data_samples']
    sample.gt_instances = InstanceData(bboxes=boxes)
    expected = model.test_step(dict(inputs=[packed['inputs']], data_samples=[sample]))[0]
    expected = expected.pred_instances

    predictor = OVSAMPredictor(model)
    predictor.set_image(path)
    prediction = predictor.predict_batch(Prompts(bboxes=boxes))
    assert np.array_equal(prediction.masks, expected.masks.numpy())
    assert np.array_equal(prediction.name_scores, expected.topk_scores.numpy())
    classes = model.classifier.names
    assert prediction.names == [[classes[i] for i in row] for row in expected.topk_labels]


def test_points_and_boxes_each_have_their_say(predictor):
    prompts = [
        dict(point_coords=[[20, 20]], point_labels=[1]),
        dict(point_coords=[[20, 20]], point_labels=[0]),
        dict(point_coords=[[20, 20], [60, 50]], point_labels=[1, 0]),
        dict(box=BOX),
        dict(box=[BOX], point_coords=np.array([[20, 20]]), point_labels=np.array([1.0])),
    ]
    predictions = [predictor.predict(**prompt) for prompt in prompts]
    assert all(len(prediction.masks) == 1 for prediction in predictions)
    logits = [prediction.low_res_logits for prediction in predictions]
    for i, one in enumerate(logits):
        assert not any(np.array_equal(one, other) for other in logits[:i])


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


def test_model_without_names_gives_masks_alone(picture):
    predictor = OVSAMPredictor(MODELS.build(tiny.SAM))
    predictor.set_image(picture)
    prediction = predictor.predict(box=BOX)
    assert prediction.names == [[]] and prediction.name_scores.shape == (1, 0)
    assert 0 <= prediction.scores[0] <= 1 and predictor.vocabulary == ()
    with pytest.raises(ValueError, match='segments only'):
        predictor.set_vocabulary(tiny.vocabulary())


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


def test_images_of_8000_pixels_need_bounded_memory(predictor):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    predictor.set_image(np.zeros((6000, 8000, 3), np.uint8))
    prediction = predictor.predict_batch(
        Prompts(bboxes=[[0, 0, 8000, 6000], [7000, 5000, 7999, 5999]])
    )
    assert prediction.masks.shape == (2, 6000, 8000)
    # the picture 0.14 GB, each mask 0.05 GB, the logits of one mask at a time 0.2 GB
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 1.2e6 * (1024 if sys.platform == 'darwin' else 1)  # kilobytes elsewhere


@pytest.mark.parametrize(
    'prompt, message',
    [
        ({}, 'needs point_coords with point_labels, a box, or a mask_input'),
        (dict(point_labels=[1]), 'point_labels need point_coords'),
        (dict(point_coords=[[1, 2]]), 'point_coords need point_labels'),
        (dict(point_coords=[1, 2], point_labels=[1]), r'\(P, 2\).*shape \(2,\)'),
        (dict(point_coords=np.zeros((0, 2)), point_labels=[]), r'\(P, 2\).*shape \(0, 2\)'),
        (dict(point_coords=[[1, 2]], point_labels=[1, 0]), r'each of 1 points.*\(2,\)'),
        (dict(point_coords=[[1, 2]], point_labels=[2]), r'got \[2\]'),
        (dict(point_coords=[[1, 2]], point_labels=[0.5]), r'got \[0.5\]'),
        (dict(point_coords=[[1, 2]], point_labels=[-1]), r'got \[-1\]'),
        (dict(point_coords=[[81, 2]], point_labels=[1]), r'\[81.0, 2.0\].*image of 80x60'),
        (dict(point_coords=[[np.nan, 2]], point_labels=[1]), r'\[nan, 2.0\] is not inside'),
        (dict(box=[1, 2, 3]), r'shape \(3,\)'),
        (dict(box=[[[1, 2, 3, 4]]]), r'shape \(1, 1, 4\)'),
        (dict(box=[30, 2, 10, 9]), r'\[30.0, 2.0, 10.0, 9.0\] is empty, inverted'),
        (dict(box=[10, 2, 10, 9]), 'empty, inverted'),
        (dict(box=[10, 2, np.nan, 9]), 'nan, 9.0.* not finite'),
        (dict(box=[BOX, BOX]), r'shape \(2, 4\).*call predict_batch'),
        (dict(box='left'), "box must be an array of numbers, got 'left'"),
        (dict(box=[0, 0, np.inf, 9]), 'not finite'),
        (dict(box=[80, 0, 90, 9]), r'\[80.0, 0.0, 90.0, 9.0\] is outside.*80x60'),
        (dict(box=[-9, 0, 0, 9]), 'is outside'),
        (dict(mask_input=np.zeros((24, 24))), r'mask_input is \(1, 24, 24\).*shape \(24, 24\)'),
        (dict(mask_input=np.full((1, 24, 24), np.nan)), 'NaN'),
        (dict(box=BOX, top_k=0), 'top_k must be at least 1'),
    ],
)
def test_bad_prompt_is_refused(predictor, prompt, message):
    with pytest.raises(ValueError, match=message):
        predictor.predict(**prompt)


@pytest.mark.parametrize(
    'call',
    [
        lambda predictor: predictor.predict(box=BOX),
        lambda predictor: predictor.predict_batch([dict(box=BOX)]),
        lambda predictor: predictor.save_features('none.safetensors'),
    ],
)
def test_what_needs_an_image_says_to_set_one_first(predictor, call):
    assert predictor.is_image_set
    predictor.reset_image()
    assert not predictor.is_image_set
    with pytest.raises(RuntimeError, match='call set_image'):
        call(predictor)


def test_bad_names_are_refused(predictor):
    with pytest.raises(ValueError, match='give it to OVSAMPredictor'):
        predictor.set_vocabulary(['plum'])
    with pytest.raises(ValueError, match='at least one class name'):
        predictor.set_vocabulary([])
    with pytest.raises(ValueError, match='more than once'):
        predictor.set_vocabulary(['plum', 'plum'])
    with pytest.raises(TypeError, match='must be a list'):
        predictor.set_vocabulary('plum')
    with pytest.raises(ValueError, match=f'width 7 and the model {tiny.WIDTH}'):
        predictor.set_vocabulary(TextClassifier(torch.ones(3, 1, 7)))
    assert predictor.vocabulary == tiny.NAMES


def test_model_without_a_vocabulary_asks_for_one(picture):
    predictor = OVSAMPredictor(MODELS.build(tiny.OVSAM))
    predictor.set_image(picture)
    assert predictor.vocabulary == ()
    with pytest.raises(ValueError, match='call set_vocabulary first'):
        predictor.predict(box=BOX)


def test_another_model_than_an_ovsam_is_refused():
    with pytest.raises(TypeError, match='needs an OVSAM, not a Linear'):
        OVSAMPredictor(torch.nn.Linear(1, 1))


# From a config


@pytest.fixture
def config(tmp_path):
    cfg = dict(model=tiny.OVSAM, text_encoder=dict(model=tiny.CLIP))
    Config(cfg).dump(tmp_path / 'tiny.py')
    return tmp_path / 'tiny.py'


def test_config_and_checkpoint_give_a_predictor(config, picture, tmp_path):
    model = build()
    save_safetensors(model.state_dict(), tmp_path / 'tiny.safetensors')
    predictor = OVSAMPredictor.from_config(config, tmp_path / 'tiny.safetensors')
    predictor.set_image(picture)
    predictor.set_vocabulary(list(tiny.NAMES))
    expected = OVSAMPredictor(model)
    expected.set_image(picture)
    masks, _, logits = predictor.predict(box=BOX)
    assert np.array_equal(masks, expected.predict(box=BOX).masks)
    assert np.array_equal(logits, expected.predict(box=BOX).low_res_logits)


def test_weights_that_do_not_make_the_model_are_refused(config, tmp_path):
    with pytest.raises(ValueError, match='names no weights'):
        OVSAMPredictor.from_config(config)
    with pytest.raises(FileNotFoundError, match='none.pth'):
        OVSAMPredictor.from_config(config, 'none.pth')
    state = build().state_dict()
    for change, message in [
        ({name: state[name] for name in list(state)[:9]}, 'not in the checkpoint'),
        ({**state, 'neck.level_encoding.weight': torch.zeros(4, 7)}, 'another shape'),
        ({'weight': torch.zeros(1)}, 'Nothing in the checkpoint belongs'),
    ]:
        torch.save(change, tmp_path / 'wrong.pth')
        with pytest.raises(ValueError, match=message):
            OVSAMPredictor.from_config(config, tmp_path / 'wrong.pth')


def test_unknown_config_is_refused_with_those_that_there_are():
    with pytest.raises(FileNotFoundError, match='no config mini/none.py.*mini/ovsam_mini.py'):
        OVSAMPredictor.from_config('mini/none.py')


def test_weights_of_distributed_training_are_loaded(model, config, tmp_path):
    twos = {name: torch.full_like(value, 2) for name, value in model.state_dict().items()}
    wrapped = {f'module.{name}': value for name, value in twos.items()}
    torch.save(dict(state_dict=wrapped), tmp_path / 'wrapped.pth')
    loaded = OVSAMPredictor.from_config(config, tmp_path / 'wrapped.pth').model.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in twos.items())
