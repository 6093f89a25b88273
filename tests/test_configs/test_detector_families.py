"""Each family of MMDetection's detectors finds the same before OVSAM as alone."""

from itertools import chain

import mmcv
import numpy as np
import pytest
from mmdet.structures import DetDataSample
from PIL import Image
from shrunk_detectors import found_alone, small_detector

from mmovsam.prompts import DetectorPrompter

FAMILIES = (
    'detr/detr_r50_8xb2-150e_coco.py',
    'dino/dino-4scale_r50_8xb2-12e_coco.py',
    'faster_rcnn/faster-rcnn_r50_fpn_ms-3x_coco.py',
    'rpn/rpn_r50_fpn_1x_coco.py',
    'rtmdet/rtmdet_l_8xb32-300e_coco.py',
    'yolox/yolox_l_8xb8-300e_coco.py',
)
RELATIVES = (  # of those above
    'atss/atss_r50_fpn_1x_coco.py',
    'cascade_rcnn/cascade-mask-rcnn_r50_fpn_ms-3x_coco.py',
    'deformable_detr/deformable-detr-refine-twostage_r50_16xb2-50e_coco.py',
    'seesaw_loss/mask-rcnn_r50_fpn_seesaw-loss_sample1e-3-ms-2x_lvis-v1.py',
)
SIZES = {
    'wide.jpg': (333, 217),
    'turned.jpg': (217, 333),
    'tall.png': (64, 501),
    'large.jpg': (641, 480),
    'dot.png': (1, 1),
}
SEED = 5


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    """Files with pictures of soft random colors, by their (width, height)."""
    print(f'seed {SEED}')
    random = np.random.default_rng(SEED)
    folder = tmp_path_factory.mktemp('pictures')
    for name, size in SIZES.items():
        colors = random.integers(0, 256, (7, 9, 3), dtype=np.uint8)
        mmcv.imwrite(mmcv.imresize(colors, size, interpolation='bicubic'), str(folder / name))
    turned = Image.Exif()
    turned[0x0112] = 6
    with Image.open(folder / 'wide.jpg') as image:
        image.convert('L').save(folder / 'turned.jpg', exif=turned)
    return {str(folder / name): size for name, size in SIZES.items()}


def inside(instances, size):
    """Boxes, scores and labels, the best first; clipped to the picture, without empty ones."""
    bboxes, scores, labels = (
        getattr(instances, key).numpy() for key in ('bboxes', 'scores', 'labels')
    )
    bboxes = np.clip(bboxes, 0, np.float32([*size, *size]))
    order = np.argsort(-scores, kind='stable')
    order = order[(bboxes[order, 2:] > bboxes[order, :2]).all(axis=1)]
    return bboxes[order], scores[order], labels[order]


@pytest.mark.parametrize(
    'name', [*FAMILIES, *(pytest.param(name, marks=pytest.mark.slow) for name in RELATIVES)]
)
def test_boxes_scores_and_labels_are_those_of_the_inferencer(name, pictures, tmp_path):
    config, weights = small_detector(f'mmdet::{name}', tmp_path)
    alone = found_alone(config, weights, list(pictures))
    prompter = DetectorPrompter(config, weights, score_thr=0.0, max_per_img=1000)
    samples = [DetDataSample(metainfo=dict(img_path=path)) for path in pictures]
    all_scores = []
    for (path, size), expected, prompts in zip(pictures.items(), alone, prompter(samples)):
        bboxes, scores, labels = inside(expected, size)
        # pictures of one size are one batch, which rounds otherwise
        np.testing.assert_allclose(prompts.bboxes, bboxes, atol=2e-2, err_msg=path)
        np.testing.assert_allclose(prompts.scores, scores, atol=1e-5, err_msg=path)
        np.testing.assert_array_equal(prompts.labels, labels, path)
        all_scores.append(tuple(scores.tolist()))
    # Boxes that hardly differ from each other, or from those of another picture, prove nothing.
    assert len(set(chain(*all_scores))) > 30
    assert len(set(all_scores)) == len(pictures)
