"""Pictures of a test: images of one name in several folders have one each."""

from types import SimpleNamespace

import cv2
import mmcv
import numpy as np
import pytest
from mmdet.visualization import DetLocalVisualizer
from mmengine.dataset import BaseDataset
from mmengine.visualization import Visualizer
from test_val_picture_hook import sample_of

from mmovsam.datasets.image_paths import result_names
from mmovsam.engine.hooks import PictureHook


class Images(BaseDataset):
    """Data of paths alone."""

    def load_data_list(self):
        return [dict(img_path=path) for path in self.ann_file]

    def _join_prefix(self):
        """Nothing is joined to the paths."""


@pytest.mark.parametrize(
    'folders, expected',
    [
        (('cam/a', 'cam/b'), ['a/0.png', 'b/0.png']),
        (('cam', 'cam/b'), ['0.png', 'b/0.png']),
        (('cam',), ['0.png']),
    ],
)
@pytest.mark.parametrize('form', ['tensor', 'rle'])
def test_pictures_of_images_of_one_name_do_not_replace_each_other(
    tmp_path, monkeypatch, folders, expected, form
):
    visualizer = DetLocalVisualizer(name=f'test {tmp_path}')
    visualizer.dataset_meta = dict(classes=('owl',))
    monkeypatch.setattr(Visualizer, 'get_current_instance', lambda: visualizer)
    samples = [sample_of(tmp_path / folder, 0, form) for folder in folders]
    hook = PictureHook(draw=True, test_out_dir='shown')
    dataset = Images(ann_file=[sample.img_path for sample in samples], pipeline=[])
    runner = SimpleNamespace(
        work_dir=str(tmp_path / 'out'),
        timestamp='now',
        test_dataloader=SimpleNamespace(dataset=dataset),
    )
    hook.before_test(runner)
    for sample in samples:  # as of several batches
        hook.after_test_iter(runner, 0, None, [sample])
    shown = tmp_path / 'out/now/shown'
    assert sorted(str(path.relative_to(shown)) for path in shown.rglob('*.png')) == expected
    assert all((mmcv.imread(str(shown / name)) != 90).any() for name in expected)


def test_16_bits_are_no_black_picture(tmp_path, monkeypatch):
    visualizer = DetLocalVisualizer(name=f'test {tmp_path}')
    visualizer.dataset_meta = dict(classes=('owl',))
    monkeypatch.setattr(Visualizer, 'get_current_instance', lambda: visualizer)
    sample = sample_of(tmp_path, 0, 'tensor')
    values = np.random.default_rng(0).integers(0, 4096, (40, 60), dtype=np.uint16)
    cv2.imwrite(sample.img_path, values)
    hook = PictureHook(draw=True, test_out_dir='shown')
    hook.after_test_iter(SimpleNamespace(work_dir=str(tmp_path), timestamp='t'), 0, None, [sample])
    assert mmcv.imread(str(tmp_path / 't/shown/0.png'))[35:].std() > 60


@pytest.mark.parametrize(
    'paths, names',
    [
        (['x/a.jpg', 'y/b.jpg'], ['a.jpg', 'b.jpg']),
        (['x/a.jpg', 'x/a.png'], ['a.jpg', 'a.png']),
        (['x/a.jpg', 'y/A.jpg'], ['x/a.jpg', 'y/A.jpg']),
        (['x/1/a.jpg', 'x/2/a.jpg', 'x/2/b.jpg'], ['1/a.jpg', '2/a.jpg', '2/b.jpg']),
        (['x/a.jpg', 'x/a.jpg'], ['a.jpg', 'a.jpg']),
        ([], []),
    ],
)
def test_names_are_short_where_they_can_be(paths, names):
    found = result_names(paths)
    assert [found[path] for path in paths] == names
