"""The members of SAM's `SamPredictor` besides `set_image` and `predict`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..datasets.transforms import ResizeLongestSide
from ..models.detectors.instances import MaskWriter, stability_scores
from ..prompts import Prompts


class SamTransform:
    """Maps images and coordinates to the network's input, like SAM's `ResizeLongestSide`.

    `target_length` is the longest side of the network's input in pixels.
    """

    def __init__(self, target_length: int) -> None:
        self.target_length = target_length
        self._resize = ResizeLongestSide(target_length)

    def preprocess_shape(self, original_size: Sequence[int]) -> tuple[int, int]:
        """The size `(H, W)` in the network's input of an image of `original_size`, `(H, W)`."""
        factor = self.target_length / max(original_size)
        return tuple(max(1, int(side * factor + 0.5)) for side in original_size)

    def apply_image(self, image: np.ndarray) -> np.ndarray:
        """Resize an image, `(H, W, 3)` uint8, as `set_image` does."""
        return self._resize(dict(img=image))['img']

    def apply_coords(self, coords: np.ndarray, original_size: Sequence[int]) -> np.ndarray:
        """Map points `(..., 2)` xy of an image of `original_size`, `(H, W)`."""
        return np.asarray(coords, np.float64) * self._factors(original_size)

    def apply_boxes(self, boxes: np.ndarray, original_size: Sequence[int]) -> np.ndarray:
        """Map boxes `(..., 4)` xyxy; the result is `(N, 4)`."""
        corners = np.asarray(boxes, np.float64).reshape(-1, 2, 2)
        return self.apply_coords(corners, original_size).reshape(-1, 4)

    def apply_image_torch(self, image: Tensor) -> Tensor:
        """Resize images `(B, 3, H, W)` with antialiasing; the result is float."""
        size = self.preprocess_shape(image.shape[-2:])
        return F.interpolate(image.float(), size, mode='bilinear', antialias=True)

    def apply_coords_torch(self, coords: Tensor, original_size: Sequence[int]) -> Tensor:
        """As `apply_coords`, on the tensor's device and in float32."""
        coords = coords.to(torch.float32)
        return coords * coords.new_tensor(self._factors(original_size))

    def apply_boxes_torch(self, boxes: Tensor, original_size: Sequence[int]) -> Tensor:
        """As `apply_boxes`, on the tensor's device and in float32."""
        return self.apply_coords_torch(boxes.reshape(-1, 2, 2), original_size).reshape(-1, 4)

    def _factors(self, original_size: Sequence[int]) -> list[float]:
        height, width = self.preprocess_shape(original_size)
        return [width / original_size[1], height / original_size[0]]


class SamInterface:
    """The part of `OVSAMPredictor` for code written for `SamPredictor`."""

    @property
    def transform(self) -> SamTransform:
        """Maps images and coordinates to the network's input."""
        return SamTransform(self.model.input_size)

    @property
    def original_size(self) -> tuple[int, int] | None:
        """`(H, W)` of the current image, or None."""
        return self._images[0].ori_shape if self._images else None

    @property
    def input_size(self) -> tuple[int, int] | None:
        """`(H, W)` of the current image in the network's input, without padding, or None."""
        return self._images[0].img_shape if self._images else None

    @property
    def features(self) -> Tensor | None:
        """The current image's embedding `(1, C, h, w)`, the input of SAM's mask decoder.

        None without an image, and for models with a window decoder, which have several feature
        maps. Read-only: use `save_features` and `load_features` to keep features.
        """
        if not self._images or self.model.window_decoder is not None:
            return None
        return self._images[0].features.embedding

    def get_image_embedding(self) -> Tensor:
        """The current image's embedding, see `features`.

        Raises:
            RuntimeError: No image is set.
            ValueError: The model has a window decoder.
        """
        self._encoded(0)
        if self.features is None:
            raise ValueError(
                'This model has no one embedding of the image: its window decoder reads several '
                'maps. Keep them with save_features.'
            )
        return self.features

    @torch.no_grad()
    def set_torch_image(
        self, transformed_image: Tensor, original_image_size: Sequence[int]
    ) -> None:
        """Encode an image that `transform.apply_image_torch` has resized.

        Args:
            transformed_image: `(1, 3, h, w)` RGB from 0 to 255, its longest side as the network's.
            original_image_size: `(H, W)` of the original image.

        Raises:
            ValueError: The image has another shape; then no image is set.
        """
        self.reset_image()
        height, width = (int(side) for side in original_image_size)
        expected = (1, 3, *self.transform.preprocess_shape((height, width)))
        if tuple(transformed_image.shape) != expected:
            raise ValueError(
                f'transformed_image has shape {tuple(transformed_image.shape)}, expected '
                f'{expected} for an image of {width}x{height} pixels: make it with '
                'transform.apply_image_torch(image).'
            )
        with self._lock:
            bgr = transformed_image[0].flip(0)
            self._images = [self._encoder.encode_tensor(bgr, (height, width))]

    @torch.no_grad()
    def predict_torch(
        self,
        point_coords: Tensor | None,
        point_labels: Tensor | None,
        boxes: Tensor | None = None,
        mask_input: Tensor | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        *,
        image_index: int = 0,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Predict masks, without names, for N prompts in the frame of the network's input.

        For prompts in pixels of the image, with checks and names, use `predict_batch`.

        Args:
            point_coords: `(N, P, 2)` xy, made by `transform.apply_coords_torch`.
            point_labels: `(N, P)`, 1 foreground, 0 background, -1 padding.
            boxes: `(N, 4)` xyxy, made by `transform.apply_boxes_torch`.
            mask_input: `(N, 1, h, w)` logits of a previous prediction.
            multimask_output: As for `predict`: M is 3 or 1.
            return_logits: Whether masks are float logits instead of bool.
            image_index: As for `predict`.

        Returns:
            Masks `(N, M, H, W)` at the size of the image, their predicted IoU (or stability, see
            `Prediction`) `(N, M)`, and low-resolution logits `(N, M, h, w)`, on the model's device.

        Raises:
            RuntimeError: No image has been set.
            ValueError: There is no prompt, or an argument has a wrong shape or value.
        """
        encoded = self._encoded(image_index)
        prompts = Prompts(
            None if boxes is None else boxes.reshape(-1, 4), point_coords, point_labels, mask_input
        ).to('cpu')
        size = self.model.logit_size
        if mask_input is not None and tuple(mask_input.shape[1:]) != (1, size, size):
            raise ValueError(
                f'mask_input is (N, 1, {size}, {size}), such as the third result of an earlier '
                f'predict_torch with one mask; got shape {tuple(mask_input.shape)}.'
            )
        step = self.model.chunk_size
        with self._lock:
            decoded = [
                self.model.decode_masks(
                    encoded.features, prompts[start : start + step], multimask_output
                )
                for start in range(0, max(len(prompts), 1), step)
            ]
        low_res_logits = torch.cat([chunk.low_res_logits for chunk in decoded]).float()
        shape, logits = low_res_logits.shape[:2], low_res_logits.flatten(0, 1)[:, None]
        if self.model.predicts_quality:
            quality = torch.cat([chunk.iou_predictions for chunk in decoded]).float()
        else:
            quality = stability_scores(logits, self.model.input_size, encoded.img_shape)
        mask_format = 'logits' if return_logits else 'tensor'
        writer = MaskWriter(len(logits), encoded.metainfo, self.model.input_size, True, mask_format)
        writer.add(logits, with_bboxes=False)
        return writer.masks.unflatten(0, shape), quality.reshape(shape), low_res_logits
