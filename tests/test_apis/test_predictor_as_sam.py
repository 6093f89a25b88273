"""Code that was written for segment_anything's SamPredictor, with OVSAMPredictor in its place."""

import numpy as np
import pytest
from small_predictor import HEIGHT, WIDTH

from mmovsam.apis import OVSAMPredictor
from mmovsam.datasets.mini_world import draw_scene
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
    box = np.array([10, 12, 50, 40])
    first, second, quality = cut_out_by_box(predictor, picture, box, (45, 38))
    assert first.shape == second.shape == (HEIGHT, WIDTH) and isinstance(quality, float)


def test_objects_are_cut_out_by_a_click_or_a_box():
    print(f'seed {SEED}')
    predictor = OVSAMPredictor.from_config('mini/ovsam_mini_boxes.py')
    by_click, by_box = [], []
    for index in range(2):
        scene = draw_scene(np.random.default_rng([SEED, index]), 'test')
        for mask in scene.masks.astype(bool):
            rows, columns = np.nonzero(mask)
            middle = len(rows) // 2
            click = (columns[middle], rows[middle], 1)
            by_click.append(mask_iou(cut_out_by_clicks(predictor, scene.image, [click])[1], mask))
            box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            by_box.append(mask_iou(cut_out_by_box(predictor, scene.image, box, (0, 0))[0], mask))
    print(f'IoU by a click {np.mean(by_click):.3f}, by a box {np.mean(by_box):.3f}')
    assert np.mean(by_click) > 0.7 and np.mean(by_box) > 0.8
