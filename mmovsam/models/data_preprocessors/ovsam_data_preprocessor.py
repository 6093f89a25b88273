"""Normalize, and pad to the network's square."""

from __future__ import annotations

from typing import Any

from mmdet.models import DetDataPreprocessor
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.structures import BaseDataElement
from torch import Tensor

from ...layers import to_device

MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)


@MODELS.register_module()
class OVSAMDataPreprocessor(DetDataPreprocessor):
    """MMDetection's preprocessor with SAM's numbers: RGB, normalized, zeros to a square.

    Only the images go to the model's device. Annotations stay on the host: branching on them there
    would wait for the device.

    Args:
        image_size: Side of the square network input in pixels.
        **kwargs: As for `DetDataPreprocessor`.
    """

    def __init__(self, image_size: int = 1024, **kwargs) -> None:
        settings = dict(
            mean=MEAN, std=STD, bgr_to_rgb=True, pad_mask=True, pad_size_divisor=image_size
        )
        settings.update(kwargs)
        # swapped on the host: MMDetection would copy indices to the device
        swaps = settings.pop('bgr_to_rgb'), settings.pop('rgb_to_bgr', False)
        super().__init__(**settings)
        self.swaps_channels = any(swaps)
        self.image_size = image_size

    def cast_data(self, data: Any) -> Any:
        """Move images to the device, and nothing else; see `BaseDataPreprocessor.cast_data`."""
        if isinstance(data, BaseDataElement):
            return data
        if isinstance(data, Tensor):
            return to_device(data, self.device)
        return super().cast_data(data)

    def forward(self, data: dict, training: bool = False) -> dict:
        """See `DetDataPreprocessor.forward`; the batch becomes `(B, 3, image_size, image_size)`.

        Raises:
            ValueError: An image is larger than the network's input.
        """
        for image in data['inputs']:
            if max(image.shape[-2:]) > self.image_size:
                raise ValueError(
                    f'An image of {image.shape[-1]}x{image.shape[-2]} pixels does not fit the '
                    f"network's input of {self.image_size}x{self.image_size}. Add "
                    f"dict(type='Resize', scale=({self.image_size}, {self.image_size}), "
                    'keep_ratio=True) to the pipeline.'
                )
        if self.swaps_channels:
            data = dict(data, inputs=[image.flip(0) for image in data['inputs']])
        return super().forward(data, training)

    def pad_gt_masks(self, batch_data_samples: list[DetDataSample]) -> None:
        """Pad the masks of images that have any; MMDetection expects all or none to have them."""
        for sample in batch_data_samples:
            super().pad_gt_masks([sample])
