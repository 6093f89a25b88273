"""Pictures of what a model predicts in a test."""

from __future__ import annotations

import os.path as osp
from collections.abc import Mapping, Sequence

from mmdet.engine.hooks import DetVisualizationHook
from mmdet.structures import DetDataSample
from mmengine.registry import HOOKS

from ...datasets.image_paths import image_paths, leaf_datasets, result_names
from ...fonts import use_fonts
from .val_picture_hook import read_picture, with_decoded_masks


@HOOKS.register_module()
class PictureHook(DetVisualizationHook):
    """MMDetection's hook, whose pictures of images of one name do not replace each other.

    Where images of different folders have the same name, their pictures lie in such folders below
    `test_out_dir`. Images are read at any depth; names have fonts with their letters.
    """

    _names: Mapping[str, str] = {}

    def before_test(self, runner) -> None:
        """Name the pictures of all images, alike in every process, and look for fonts."""
        if self.draw:
            metainfo = self._visualizer.dataset_meta or {}
            use_fonts(self._visualizer, metainfo.get('classes') or ())
        if self.draw and self.test_out_dir is not None:
            leaves = leaf_datasets(runner.test_dataloader.dataset)
            self._names = result_names([path for leaf in leaves for path in image_paths(leaf)])

    def after_test_iter(
        self,
        runner,
        batch_idx: int,
        data_batch: Mapping | None = None,
        outputs: Sequence[DetDataSample] | None = None,
    ) -> None:
        """Draw a batch.

        Args:
            runner (Runner): The runner of the test.
            batch_idx: The number of the batch.
            data_batch: The batch.
            outputs: Its predictions.
        """
        for sample in outputs if self.draw else ():
            self._test_index += 1
            path = sample.img_path
            out_file = None
            if self.test_out_dir is not None:
                name = self._names.get(path, osp.basename(path))
                out_file = osp.join(runner.work_dir, runner.timestamp, self.test_out_dir, name)
            self._visualizer.add_datasample(
                osp.basename(path) if self.show else 'test_img',
                read_picture(path, self.backend_args),
                with_decoded_masks(sample),
                show=self.show,
                wait_time=self.wait_time,
                pred_score_thr=self.score_thr,
                out_file=out_file,
                step=self._test_index,
            )
