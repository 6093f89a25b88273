"""Pictures of a test and of each validation."""

from types import SimpleNamespace

import mmcv
import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.visualization import DetLocalVisualizer
from mmengine.dataset import BaseDataset
from mmengine.structures import InstanceData
from mmengine.visualization import Visualizer
from pycocotools import mask as coco_mask

from mmovsam.engine.hooks import PictureHook, ValPictureHook


def sample_of(folder, number, form):
    path = folder / f'{number}.png'
    mmcv.imwrite(np.full((40, 60, 3), 90, np.uint8), str(path))
    masks = torch.zeros(1, 40, 60, dtype=torch.bool)
    masks[0, 5:30, 5:30] = True
    if form == 'rle':
        masks = [coco_mask.encode(np.asfortranarray(masks[0].numpy().astype(np.uint8)))]
    about = dict(bboxes=torch.tensor([[5.0, 5, 30, 30]]), labels=torch.zeros(1, dtype=torch.int64))
    sample = DetDataSample(metainfo=dict(img_path=str(path), ori_shape=(40, 60)))
    sample.gt_instances = InstanceData(**about)
    sample.pred_instances = InstanceData(**about, scores=torch.ones(1), masks=masks)
    return sample


def draw(folder, form):
    backends = [dict(type='LocalVisBackend')]
    visualizer = DetLocalVisualizer(f'val {folder}', vis_backends=backends, save_dir=str(folder))
    visualizer.dataset_meta = dict(classes=('owl',))
    hook = ValPictureHook()
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


class Images(BaseDataset):
    """Data of paths alone."""

    def load_data_list(self):
        return [dict(img_path=path) for path in self.ann_file]

    def _join_prefix(self):
        """Nothing is joined to the paths."""


@pytest.mark.parametrize(
    'folders, expected, form',
    [
        (('cam/a', 'cam/b'), ['a/0.png', 'b/0.png'], 'tensor'),
        (('cam', 'cam/b'), ['0.png', 'b/0.png'], 'rle'),
    ],
)
def test_pictures_of_images_of_one_name_do_not_replace_each_other(
    tmp_path, monkeypatch, folders, expected, form
):
    visualizer = DetLocalVisualizer(name=f'test {tmp_path}')
    visualizer.dataset_meta = dict(classes=('owl',))
    monkeypatch.setattr(Visualizer, 'get_current_instance', lambda: visualizer)
    hook = PictureHook(draw=True, test_out_dir='shown')
    samples = [sample_of(tmp_path / folder, 0, form) for folder in folders]
    dataset = Images(ann_file=[sample.img_path for sample in samples], pipeline=[])
    loader = SimpleNamespace(dataset=dataset)
    runner = SimpleNamespace(
        work_dir=str(tmp_path / 'out'), timestamp='now', test_dataloader=loader
    )
    hook.before_test(runner)
    for sample in samples:  # as of several batches
        hook.after_test_iter(runner, 0, None, [sample])
    shown = tmp_path / 'out/now/shown'
    assert sorted(str(path.relative_to(shown)) for path in shown.rglob('*.png')) == expected
    assert all((mmcv.imread(str(shown / name)) != 90).any() for name in expected)
