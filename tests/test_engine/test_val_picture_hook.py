"""The picture of each validation."""

from types import SimpleNamespace

import mmcv
import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.visualization import DetLocalVisualizer
from mmengine.structures import InstanceData
from pycocotools import mask as coco_mask

from mmovsam.engine.hooks import ValPictureHook


def sample_of(folder, number, form):
    path = folder / f'{number}.png'
    mmcv.imwrite(np.full((40, 60, 3), 90, np.uint8), str(path))
    masks = torch.zeros(1, 40, 60, dtype=torch.bool)
    masks[0, 5:30, 5:30] = True
    if form == 'rle':
        masks = [
            coco_mask.encode(np.asfortranarray(mask.numpy().astype(np.uint8))) for mask in masks
        ]
    bboxes, labels = torch.tensor([[5.0, 5, 30, 30]]), torch.zeros(1, dtype=torch.int64)
    sample = DetDataSample(metainfo=dict(img_path=str(path), ori_shape=(40, 60)))
    sample.gt_instances = InstanceData(bboxes=bboxes, labels=labels)
    sample.pred_instances = InstanceData(
        bboxes=bboxes, labels=labels, scores=torch.ones(1), masks=masks
    )
    return sample


def draw(folder, form='tensor', **settings):
    visualizer = DetLocalVisualizer(
        name=f'val {folder}', vis_backends=[dict(type='LocalVisBackend')], save_dir=str(folder)
    )
    visualizer.dataset_meta = dict(classes=('owl',))
    hook = ValPictureHook(**settings)
    for iteration in (10, 20):
        runner = SimpleNamespace(visualizer=visualizer, iter=iteration)
        hook.before_val_epoch(runner)
        for batch in (0, 1):
            outputs = [sample_of(folder, 2 * batch + i, form) for i in (0, 1)]
            hook.after_val_iter(runner, batch, None, outputs)
            assert isinstance(outputs[0].pred_instances.masks, list) == (form == 'rle')
    return {path.name: mmcv.imread(str(path)) for path in folder.rglob('vis_image/*')}


@pytest.mark.parametrize('form', ['tensor', 'rle'])
def test_each_validation_leaves_a_picture_of_annotations_and_predictions(tmp_path, form):
    pictures = draw(tmp_path, form)
    assert sorted(pictures) == ['val_0_10.png', 'val_0_20.png']
    annotated, predicted = np.split(pictures['val_0_10.png'], 2, axis=1)
    assert annotated.shape[:2] == (40, 60)
    inside = np.s_[15:25, 10:25]
    assert (annotated[inside] == 90).mean() > 0.5  # a box alone
    assert not (predicted[inside] == 90).all(-1).any()  # and a mask


@pytest.mark.parametrize(('wanted', 'drawn'), [(0, 0), (3, 6), (9, 8)])
def test_so_many_pictures_are_drawn_as_are_wanted(tmp_path, wanted, drawn):
    assert len(draw(tmp_path, num_images=wanted)) == drawn


def test_predictions_of_other_tasks_are_left_alone(tmp_path):
    ValPictureHook().after_val_iter(None, 0, None, [(1, 2.0)])
