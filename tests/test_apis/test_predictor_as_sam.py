"""Code that was written for segment_anything's SamPredictor, with OVSAMPredictor in its place."""

import numpy as np
import pytest
import torch
from small_predictor import HEIGHT, WIDTH
from small_world import scene

from mmovsam.apis import OVSAMPredictor
from mmovsam.evaluation.open_vocab_metric import mask_iou

SEED = 11


def cut_out_by_clicks(predictor, image, clicks):
    """As SAM's users do it: the best guess of the first click, refined by each further one."""
    predictor.set_image(image)
    coords = np.array([[x, y] for x, y, _ in clicks])
    labels = np.array([label for _, _, label in clicks])
    masks, scores, logits = predictor.predict(
        point_coords=coords[:1], point_labels=labels[:1], multimask_output=True
    )
    guesses = masks
    for count in range(2, len(clicks) + 1):
        mask_input = logits[np.argmax(scores), :, :]
        masks, scores, logits = predictor.predict(
            point_coords=coords[:count],
            point_labels=labels[:count],
            mask_input=mask_input[None, :, :],
            multimask_output=False,
        )
    return guesses, masks[0], scores[0], logits


def cut_out_by_box(predictor, image, box, background):
    """A box, then the same box with a click on what does not belong to the object."""
    predictor.set_image(image, 'RGB')
    masks, _, logits = predictor.predict(
        point_coords=None, point_labels=None, box=box[None, :], multimask_output=False
    )
    soft, quality, _ = predictor.predict(
        np.array([background]), np.array([0]), box, logits, False, return_logits=True
    )
    return masks[0], soft[0] > 0.0, quality.item()


@pytest.mark.parametrize('num_masks', [1, 4])
def test_clicks_and_boxes_give_what_sams_users_read(model, four_masks, picture, num_masks):
    predictor = OVSAMPredictor(model if num_masks == 1 else four_masks)
    clicks = [(20, 20, 1), (60, 50, 0), (33, 7, 1)]
    guesses, mask, score, logits = cut_out_by_clicks(predictor, picture, clicks)
    assert guesses.shape == ((3 if num_masks == 4 else 1), HEIGHT, WIDTH)
    assert mask.shape == (HEIGHT, WIDTH) and mask.dtype == guesses.dtype == bool
    assert logits.shape == (1, 24, 24) and np.isfinite(score)


def test_objects_are_cut_out_by_a_click_or_a_box():
    predictor = OVSAMPredictor.from_config('mini/ovsam_mini_boxes.py')
    drawn = scene(SEED)
    boxes, clicks = drawn.boxes, clicks_in(drawn.masks)
    by_click = [cut_out_by_clicks(predictor, drawn.image, [(*click, 1)])[1] for click in clicks]
    by_box = [cut_out_by_box(predictor, drawn.image, box, (0, 0)) for box in boxes]
    assert all(isinstance(quality, float) for *_, quality in by_box)
    by_click, by_box = (
        np.mean([mask_iou(mask, truth) for mask, truth in zip(masks, drawn.masks)])
        for masks in (by_click, [mask for mask, *_ in by_box])
    )
    print(f'seed {SEED}: IoU by a click {by_click:.3f}, by a box {by_box:.3f}')
    assert by_click > 0.7 and by_box > 0.8


def masks_of_detections(predictor, image, boxes, device):
    """As programs do that put SAM behind a text-prompted detector: all boxes in one call."""
    predictor.set_image(image)
    detected = torch.as_tensor(boxes, dtype=torch.float32)
    transformed = predictor.transform.apply_boxes_torch(detected, image.shape[:2]).to(device)
    masks, _, _ = predictor.predict_torch(
        point_coords=None, point_labels=None, boxes=transformed, multimask_output=False
    )
    return masks.cpu().numpy()


def masks_of_clicks(predictor, image, clicks):
    """As programs do that keep images as tensors: a click each, then its mask once more."""
    pixels = torch.as_tensor(image).permute(2, 0, 1)[None]
    transform = predictor.transform
    predictor.set_torch_image(transform.apply_image_torch(pixels), image.shape[:2])
    coords = transform.apply_coords_torch(torch.tensor(clicks)[:, None], predictor.original_size)
    labels = torch.ones(coords.shape[:2], dtype=torch.int)
    masks, iou, low_res = predictor.predict_torch(coords, labels, multimask_output=True)
    best = low_res[torch.arange(len(iou)), iou.argmax(1)][:, None]
    soft, *_ = predictor.predict_torch(
        coords, labels, None, best, multimask_output=False, return_logits=True
    )
    return masks, soft


def clicks_in(masks):
    places = [np.nonzero(mask) for mask in masks]
    return np.array([[x[len(x) // 2], y[len(y) // 2]] for y, x in places])


@pytest.mark.parametrize('name', ['ovsam-mini', 'ovsam-photo'])
def test_boxes_and_clicks_as_tensors_give_what_arrays_give(name):
    predictor = OVSAMPredictor.from_pretrained(name, device='cpu')
    drawn = scene(SEED)
    boxes, clicks = drawn.boxes, clicks_in(drawn.masks)
    masks = masks_of_detections(predictor, drawn.image, boxes, predictor.device)
    assert masks.shape == (len(boxes), 1, *drawn.image.shape[:2]) and masks.dtype == bool
    expected = predictor.predict_batch([dict(box=box) for box in boxes])
    assert (masks[:, 0] != expected.masks).mean() < 5e-3  # boxes are rounded once more
    ious = [mask_iou(mask[0], truth) for mask, truth in zip(masks, drawn.masks)]
    print(f'seed {SEED}: IoU of {name} {np.mean(ious):.3f}')
    assert np.mean(ious) > (0.8 if name == 'ovsam-mini' else 0.5)
    guesses, soft = masks_of_clicks(predictor, drawn.image, clicks)
    assert guesses.shape[:2] == (len(clicks), predictor.model.masks_per_prompt)
    assert soft.shape == (len(clicks), 1, *drawn.image.shape[:2])
    inside = [mask[0, y, x] > 0 for mask, (x, y) in zip(soft, clicks)]
    assert np.mean(inside) > 0.6


def test_frame_of_the_network_is_where_set_image_puts_things(model, picture):
    predictor = OVSAMPredictor(model)
    transform, size = predictor.transform, picture.shape[:2]
    assert predictor.original_size is predictor.input_size is predictor.features is None
    with pytest.raises(RuntimeError, match='No image is set'):
        predictor.get_image_embedding()
    predictor.set_image(picture)
    assert predictor.original_size == size == (HEIGHT, WIDTH)
    assert max(predictor.input_size) == transform.target_length == model.input_size
    assert transform.apply_image(picture).shape[:2] == predictor.input_size
    corner, box = np.array([[WIDTH, HEIGHT]]), np.array([0, 0, WIDTH, HEIGHT])
    far = predictor.input_size[::-1]
    np.testing.assert_allclose(transform.apply_coords(corner, size), [far])
    np.testing.assert_allclose(transform.apply_boxes(box, size), [[0, 0, *far]])
    assert transform.apply_boxes_torch(torch.zeros(0, 4), size).shape == (0, 4)
    embedding = predictor.get_image_embedding()
    assert embedding is predictor.features and embedding.shape[0] == 1
    resized = torch.from_numpy(transform.apply_image(picture)).permute(2, 0, 1)[None]
    predictor.set_torch_image(resized, size)
    torch.testing.assert_close(predictor.features, embedding)
    predictor.reset_image()
    assert not predictor.is_image_set and predictor.features is None


def test_gray_deep_and_floating_point_arrays_are_the_same_picture(model, picture):
    gray, answers = picture[..., 0], []
    for image in (gray.repeat(3).reshape(*gray.shape, 3), gray, gray / 255, gray * np.uint16(257)):
        predictor = OVSAMPredictor(model)
        predictor.set_image(image)
        answers.append(predictor.predict(box=[10, 12, 50, 40]).low_res_logits)
    assert all(np.array_equal(answer, answers[0]) for answer in answers)


def test_no_boxes_give_no_masks_and_wrong_tensors_are_named(predictor):
    masks, iou, low_res = predictor.predict_torch(None, None, torch.zeros(0, 4))
    assert len(masks) == len(iou) == len(low_res) == 0 and masks.shape[2:] == (HEIGHT, WIDTH)
    for given, message in [
        ((None, None), 'Prompts need bboxes, points or mask_input'),
        ((torch.zeros(1, 1, 2), None), 'point_coords and point_labels together'),
        ((None, None, None, torch.zeros(1, 1, 9, 9)), r'\(N, 1, 24, 24\).*got shape \(1, 1, 9, 9'),
    ]:
        with pytest.raises(ValueError, match=message):
            predictor.predict_torch(*given)
    with pytest.raises(ValueError, match=r'\(1, 3, 9, 9\), expected .* of 80x60 pixels'):
        predictor.set_torch_image(torch.zeros(1, 3, 9, 9), (60, 80))
    assert not predictor.is_image_set


def test_photo_model_has_no_single_embedding():
    predictor = OVSAMPredictor.from_pretrained('ovsam-photo', device='cpu')
    predictor.set_image(np.zeros((40, 60, 3), np.uint8))
    assert predictor.features is None and predictor.original_size == (40, 60)
    with pytest.raises(ValueError, match='no one embedding.*save_features'):
        predictor.get_image_embedding()
