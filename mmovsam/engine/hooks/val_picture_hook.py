"""A look at what a model predicts while it trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import mmengine.fileio
import numpy as np
from mmdet.structures import DetDataSample
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from ...models.detectors.run_lengths import decode_runs
from ...pixels import decode_image


@HOOKS.register_module()
class ValPictureHook(Hook):
    """Give the visualizer a picture of the first images of each validation.

    It shows what is annotated and what is predicted side by side. `LocalVisBackend` writes it
    into `vis_data/vis_image` of the run, other back ends show it with the curves.

    Args:
        num_images: How many images, 0 for none.
        score_thr: Predictions below that are not drawn.
        backend_args: Of MMEngine's file backends, to read the images.
    """

    def __init__(
        self, num_images: int = 1, score_thr: float = 0.3, backend_args: Mapping | None = None
    ) -> None:
        self.num_images = num_images
        self.score_thr = score_thr
        self.backend_args = backend_args
        self._drawn = 0

    def before_val_epoch(self, runner) -> None:
        """Begin with the first image again."""
        self._drawn = 0

    def after_val_iter(
        self,
        runner,
        batch_idx: int,
        data_batch: Mapping | None = None,
        outputs: Sequence[DetDataSample] | None = None,
    ) -> None:
        """Draw what is wanted of a batch.

        Args:
            runner (Runner): The runner of the training.
            batch_idx: The number of the batch.
            data_batch: The batch.
            outputs: Its annotations and predictions.
        """
        if not is_main_process():
            return
        samples = [sample for sample in outputs if isinstance(sample, DetDataSample)]
        for sample in samples[: self.num_images - self._drawn]:
            runner.visualizer.add_datasample(
                f'val_{self._drawn}',
                read_picture(sample.img_path, self.backend_args),
                with_decoded_masks(sample),
                pred_score_thr=self.score_thr,
                step=runner.iter,
            )
            self._drawn += 1


def read_picture(path: str, backend_args: Mapping | None) -> np.ndarray:
    """An image of any depth, `(H, W, 3)` uint8 RGB."""
    return decode_image(mmengine.fileio.get(path, backend_args=backend_args))[..., ::-1]


def with_decoded_masks(sample: DetDataSample) -> DetDataSample:
    """The sample, or a copy of it if its masks are run-length encoded."""
    masks = sample.pred_instances.get('masks')
    if not isinstance(masks, list):
        return sample
    sample = sample.clone()  # shares what is not replaced
    sample.pred_instances = sample.pred_instances.clone()
    sample.pred_instances.masks = decode_runs(masks, sample.ori_shape)
    return sample
