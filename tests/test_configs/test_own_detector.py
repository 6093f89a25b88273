"""A detector of one's own in front of the small OVSAM, by the lines that the README gives."""

from pathlib import Path

import numpy as np
import pytest
from mini_world import CATEGORIES, write_split
from mmengine.config import Config
from shrunk_detectors import found_alone, small_detector

from mmovsam.engine.runners import build_runner

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
LINES = f"""
_base_ = [{str(CONFIGS / 'mini' / 'ovsam_mini_rtmdet.py')!r}]
model = dict(prompter=dict(detector='my_detector.py', checkpoint='my_detector.pth'))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with two scenes, a detector and the lines."""
    monkeypatch.chdir(tmp_path)
    write_split(tmp_path / 'data' / 'mini_world', 'test', 2, seed=3, progress=False)
    small_detector('mmdet::faster_rcnn/faster-rcnn_r50_fpn_ms-3x_coco.py', tmp_path)
    (tmp_path / 'behind_my_detector.py').write_text(LINES)
    return tmp_path


def test_boxes_of_ones_own_detector_become_masks_with_names(folder):
    cfg = Config.fromfile('behind_my_detector.py')
    cfg.update(work_dir='out', launcher='none', log_level='WARNING')
    cfg.test_dataloader.update(num_workers=0, persistent_workers=False)
    runner = build_runner(cfg, training=False)
    values = runner.test()
    assert {'open_vocab/IoU', 'open_vocab/acc', 'coco/segm_mAP', 'coco/bbox_mAP'} <= set(values)

    [batch] = runner.test_dataloader
    samples = runner.model.test_step(batch)
    assert len(samples) == 2
    paths = [sample.img_path for sample in samples]
    alone = found_alone('my_detector.py', 'my_detector.pth', paths)
    for sample, expected in zip(samples, alone):
        found = sample.pred_instances
        height, width = sample.ori_shape
        bboxes = np.clip(expected.bboxes, 0, np.float32([width, height, width, height]))
        assert len(bboxes) > 10
        np.testing.assert_array_equal(found.bboxes, bboxes)
        assert len(found.masks) == len(bboxes)
        assert len(set(found.labels.tolist())) > 1 and found.labels.max() < len(CATEGORIES)
