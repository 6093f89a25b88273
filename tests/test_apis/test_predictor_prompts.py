"""Every kind of prompt, alone and together, against the parts of the model."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pycocotools import mask as coco_mask
from small_predictor import BOX, HEIGHT, WIDTH, same

from mmovsam.apis import OVSAMPredictor
from mmovsam.models.detectors import instances
from mmovsam.prompts import Prompts

BOXES = [BOX, [0, 0, 80, 60], [30, 5, 79, 20], [3, 3, 9, 9], [1, 30, 60, 50]]


@pytest.fixture
def several(four_masks, picture):
    predictor = OVSAMPredictor(four_masks)
    predictor.set_image(picture)
    return predictor


@pytest.fixture
def logits(predictor):
    return predictor.predict(box=BOX).low_res_logits


@pytest.fixture
def mix(logits):
    """A prompt of each kind and of many lengths, in no order."""
    points = np.array([[20, 20], [60, 50], [5, 30]])
    return [
        dict(box=BOX),
        dict(point_coords=points[:1], point_labels=[1]),
        dict(point_coords=points, point_labels=[1, 0, 0]),
        dict(mask_input=logits),
        dict(box=BOXES[1], mask_input=logits * 2),
        dict(point_coords=points[1:], point_labels=[0, 1], mask_input=-logits),
        dict(box=[BOXES[2]], point_coords=points[2:], point_labels=np.array([0.0])),
        dict(box=BOXES[3]),
        dict(point_coords=points[1:2], point_labels=[0]),
    ]


@torch.no_grad()
def decode(predictor, prompts):
    """What the model's own prompt encoder and decoder say."""
    model, image = predictor.model, predictor._images[0]
    sparse, dense = model.prompt_encoder(prompts.scaled(image.scale_factor))
    embedding = image.features.embedding
    return model.head.decode(embedding, model.prompt_encoder.dense_pe(), sparse, dense)


def test_extra_masks_are_the_decoders_with_its_iou(several):
    expected = decode(several, Prompts(point_coords=[[[20, 20]]], point_labels=[[1]]))
    for multimask_output, which in ((True, slice(1, 4)), (False, slice(0, 1))):
        masks, scores, low_res_logits = several.predict(
            np.array([[20, 20]]), np.array([1]), multimask_output=multimask_output
        )
        assert masks.shape == (which.stop - which.start, HEIGHT, WIDTH)
        assert np.array_equal(low_res_logits, expected.low_res_logits[0, which])
        assert np.array_equal(scores, expected.iou_predictions[0, which])


def test_extra_masks_of_many_prompts_come_prompt_by_prompt(several, monkeypatch):
    monkeypatch.setitem(several.model.test_cfg, 'chunk_size', 2)
    together = several.predict_batch(Prompts(bboxes=BOXES[:3]), multimask_output=True)
    assert together.masks.shape == (9, HEIGHT, WIDTH)
    alone = [several.predict(box=box) for box in BOXES[:3]]
    logits = np.concatenate([one.low_res_logits for one in alone])
    np.testing.assert_allclose(together.low_res_logits, logits, rtol=1e-3, atol=1e-4)
    assert together.names == sum((one.names for one in alone), [])


def test_logits_are_masks_before_the_threshold(several):
    masks = several.predict(box=BOX)
    logits = several.predict(box=BOX, return_logits=True)
    assert logits.masks.dtype == np.float32 and logits.masks.shape == masks.masks.shape
    assert np.array_equal(logits.masks > 0, masks.masks)
    assert np.array_equal(logits.bboxes, masks.bboxes)
    low = torch.from_numpy(masks.low_res_logits)[None]
    enlarged = F.interpolate(low, (96, 96), mode='bilinear')[..., :72, :96]  # 60x80 in 96 pixels
    expected = F.interpolate(enlarged, (HEIGHT, WIDTH), mode='bilinear')[0]
    np.testing.assert_allclose(logits.masks, expected, atol=1e-5)


@pytest.mark.parametrize('more', [{}, dict(box=BOX)])
def test_mask_input_refines_an_earlier_result(predictor, logits, more):
    bboxes = dict(bboxes=[more['box']]) if more else {}
    refined = predictor.predict(mask_input=logits[0][None], **more)
    expected = decode(predictor, Prompts(mask_input=logits[None], **bboxes))
    assert np.array_equal(refined.low_res_logits, expected.low_res_logits[0])
    assert not np.array_equal(refined.low_res_logits, logits)
    assert same(predictor.predict(mask_input=torch.from_numpy(logits), **more), refined)


def test_every_prompt_of_a_mix_gets_what_it_gets_alone_in_chunks(predictor, mix, monkeypatch):
    alone = [predictor.predict(**prompt) for prompt in mix]
    decoded, recognize = [], predictor.model.recognize

    def counted(features, prompts, **kwargs):
        decoded.append(len(prompts))
        return recognize(features, prompts, **kwargs)

    monkeypatch.setitem(predictor.model.test_cfg, 'chunk_size', 2)
    monkeypatch.setattr(predictor.model, 'recognize', counted)
    together = predictor.predict_batch(mix)
    assert max(decoded) <= 2 and sum(decoded) == len(mix) == len(together.masks)
    for logits, names, bbox, one in zip(
        together.low_res_logits, together.names, together.bboxes, alone
    ):
        np.testing.assert_allclose(logits, one.low_res_logits[0], rtol=1e-3, atol=1e-4)
        assert names == one.names[0] and np.abs(bbox - one.bboxes[0]).max() <= 1
    assert len({one.low_res_logits.tobytes() for one in alone}) == len(mix)


def test_padding_in_prompts_changes_nothing(predictor):
    prompts = Prompts(
        bboxes=[BOX, [float('nan')] * 4, [float('nan')] * 4],
        point_coords=[[[0, 0], [0, 0]], [[7, 7], [20, 20]], [[5, 30], [60, 50]]],
        point_labels=[[-1, -1], [-1, 1], [0, 1]],
    )
    dicts = [
        dict(box=BOX),
        dict(point_coords=[[20, 20]], point_labels=[1]),
        dict(point_coords=[[5, 30], [60, 50]], point_labels=[0, 1]),
    ]
    assert same(predictor.predict_batch(prompts), predictor.predict_batch(dicts))


def test_run_lengths_are_the_masks_and_none_is_whole_at_any_time(predictor, monkeypatch):
    prompts = Prompts(bboxes=BOXES)
    expected = predictor.predict_batch(prompts)
    whole = []
    monkeypatch.setattr(instances, 'enlarge_logits', lambda *given: whole.append(given) or [])
    encoded = predictor.predict_batch(prompts, mask_format='rle', keep_logits=False)
    assert not whole and encoded.low_res_logits is None
    assert all(isinstance(mask['counts'], str) for mask in encoded.masks)
    decoded = coco_mask.decode(encoded.masks).transpose(2, 0, 1).astype(bool)
    assert np.array_equal(decoded, expected.masks) and encoded.names == expected.names
    assert np.array_equal(encoded.bboxes, expected.bboxes)


@pytest.mark.parametrize('prompts', [[], Prompts.empty()])
def test_no_prompts_give_no_masks(predictor, prompts):
    prediction = predictor.predict_batch(prompts)
    assert prediction.masks.shape == (0, HEIGHT, WIDTH)
    assert prediction.low_res_logits.shape == (0, 24, 24) and prediction.names == []
    assert predictor.predict_batch(prompts, mask_format='rle').masks == []


@pytest.mark.parametrize(
    'prompts, error, message',
    [
        (dict(box=BOX), TypeError, 'list of a dict for each object.*not dict'),
        (np.zeros((2, 4)), TypeError, 'not ndarray'),
        ([BOX], TypeError, 'Prompt 0 is a dict.*not list'),
        ([dict(box=BOX), {}], ValueError, 'Prompt 1: A prompt needs'),
        ([dict(bbox=BOX)], ValueError, 'Prompt 0: A prompt has no bbox; it has point_coords'),
        (Prompts(bboxes=[BOX, [9, 9, 3, 3]]), ValueError, 'Prompt 1: .* inverted'),
        ([dict(box=[0.1, 0.2, 0.5, 0.7])], ValueError, 'Prompt 0: .*fractions of the image'),
        (
            Prompts(point_coords=[[[0, 0]]], point_labels=[[-1]]),
            ValueError,
            'Prompt 0: A prompt needs',
        ),
    ],
)
def test_bad_prompt_among_many_is_named(predictor, prompts, error, message):
    with pytest.raises(error, match=message):
        predictor.predict_batch(prompts)
    for settings, refusal in [
        (dict(mask_format='png'), "mask_format is 'png'; choose one of"),
        (dict(top_k=0), 'top_k must be at least 1'),
    ]:
        with pytest.raises(ValueError, match=refusal):
            predictor.predict_batch([dict(box=BOX)], **settings)


def test_mask_of_the_image_becomes_a_prompt(predictor):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[12:40, 10:50] = True
    logits = predictor.mask_input(mask)
    size, scale = (
        predictor.model.logit_size,
        predictor.model.input_size / predictor.model.logit_size,
    )
    assert logits.shape == (1, size, size)
    ys, xs = np.mgrid[:size, :size] * scale / predictor.input_size[0] * HEIGHT
    inside = (ys >= 12) & (ys < 40) & (xs >= 10) & (xs < 50)
    assert ((logits[0] > 0) != inside).mean() < 0.1
    assert predictor.predict(mask_input=logits).masks.shape == (1, HEIGHT, WIDTH)
    for wrong in (mask[1:], np.zeros_like(mask)):
        with pytest.raises(ValueError, match=r'here \(60, 80\), and not empty; got'):
            predictor.mask_input(wrong)
