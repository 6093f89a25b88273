"""Pictures of predictions, in a test and during training."""

from __future__ import annotations

import os.path as osp
from collections.abc import Mapping, Sequence

import mmengine.fileio
import numpy as np
from mmdet.engine.hooks import DetVisualizationHook
from mmdet.structures import DetDataSample
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from ...datasets.files import image_paths, leaf_datasets
from ...fonts import use_fonts
from ...models.detectors.instances import drawable
from ...pixels import decode_image


@HOOKS.register_module()
class PictureHook(DetVisualizationHook):
    """MMDetection's hook, with the folders of the images kept below `test_out_dir`.

    So images of the same name do not overwrite each other. Images have any bit depth, and names any
    script.
    """

    _folder = ''  # common parent of all images

    def before_test(self, runner) -> None:
        if self.draw:
            metainfo = self._visualizer.dataset_meta or {}
            use_fonts(self._visualizer, metainfo.get('classes') or ())
        if self.draw and self.test_out_dir is not None:
            leaves = leaf_datasets(runner.test_dataloader.dataset)
            paths = [osp.abspath(path) for leaf in leaves for path in image_paths(leaf)]
            self._folder = osp.commonpath(map(osp.dirname, paths)) if paths else ''

    def after_test_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        for sample in outputs if self.draw else ():
            self._test_index += 1
            path = sample.img_path
            out_file = None
            if self.test_out_dir is not None:
                name = osp.relpath(path, self._folder) if self._folder else '..'
                name = osp.basename(path) if name.startswith('..') else name
                out_file = osp.join(runner.work_dir, runner.timestamp, self.test_out_dir, name)
            self._visualizer.add_datasample(
                osp.basename(path) if self.show else 'test_img',
                _read(path, self.backend_args),
                drawable(sample, self.score_thr),
                show=self.show,
                wait_time=self.wait_time,
                pred_score_thr=self.score_thr,
                out_file=out_file,
                step=self._test_index,
            )


@HOOKS.register_module()
class ValPictureHook(Hook):
    """Draw the first images of each validation, annotations beside predictions.

    `LocalVisBackend` writes them to `vis_data/vis_image` of the run; other backends show them with
    the curves.

    Args:
        num_images: Number of images.
        score_thr: Predictions with lower scores are not drawn.
        backend_args: Arguments of MMEngine's file backend, to read the images.
    """

    def __init__(
        self, num_images: int = 1, score_thr: float = 0.3, backend_args: Mapping | None = None
    ) -> None:
        self.num_images = num_images
        self.score_thr = score_thr
        self.backend_args = backend_args
        self._drawn = 0

    def before_val_epoch(self, runner) -> None:
        self._drawn = 0

    def after_val_iter(
        self, runner, batch_idx: int, data_batch=None, outputs: Sequence | None = None
    ) -> None:
        if not is_main_process():
            return
        samples = [sample for sample in outputs if isinstance(sample, DetDataSample)]
        for sample in samples[: self.num_images - self._drawn]:
            runner.visualizer.add_datasample(
                f'val_{self._drawn}',
                _read(sample.img_path, self.backend_args),
                drawable(sample, self.score_thr),
                pred_score_thr=self.score_thr,
                step=runner.iter,
            )
            self._drawn += 1


def _read(path: str, backend_args: Mapping | None) -> np.ndarray:
    """An image of any bit depth as `(H, W, 3)` uint8 RGB."""
    return decode_image(mmengine.fileio.get(path, backend_args=backend_args))[..., ::-1]
