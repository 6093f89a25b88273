"""RoIAlign of one map: as an operator, and as matrix products."""

import mmcv.ops
import torch
import torch.nn.functional as F
from torch import Tensor

from .tensors import is_exporting

WITH_CUDA = mmcv.ops.get_compiling_cuda_version() != 'not available'
OPERATORS_OF_MMCV = ('cpu', 'cuda') if WITH_CUDA else ('cpu',)
"""Devices for which this build of mmcv has operators."""


def to_rois(bboxes: Tensor, image_index: Tensor | None = None) -> Tensor:
    """Boxes `(..., N, 4)` behind the index of their image in the batch, `(..., N, 5)`.

    `image_index` is `(N,)`; None for the first.
    """
    if image_index is None:
        return F.pad(bboxes, (1, 0))
    index = image_index.to(bboxes).expand(bboxes.shape[:-1])
    return torch.cat((index[..., None], bboxes), dim=-1)


def roi_align(
    features: Tensor, rois: Tensor, size: tuple[int, int], scale: float, sampling_ratio: int = 0
) -> Tensor:
    """RoIAlign (He et al., 2017), aligned and averaging: `(N, C, *size)`.

    Args:
        features: `(B, C, h, w)`.
        rois: `(N, 5)`, see `to_rois`, in pixels of the input. What lies outside of the map is 0.
        size: Bins along each side of a region.
        scale: From pixels of the input to positions of the map, 1 / stride.
        sampling_ratio: Samples along each side of a bin; 0 for as many as it has positions.
    """
    if is_exporting():
        return _onnx_roi_align(features, rois, size, scale, sampling_ratio)
    features = features.contiguous()  # mmcv reads memory in this order whatever the strides say
    if features.device.type in OPERATORS_OF_MMCV and not torch.compiler.is_compiling():
        return mmcv.ops.roi_align(features, rois, size, scale, sampling_ratio, 'avg', True)
    # where mmcv has none, and to be compiled; with a CPU build of PyTorch it may lack operators
    import torchvision

    return torchvision.ops.roi_align(features, rois, size, scale, sampling_ratio, aligned=True)


def _onnx_roi_align(
    features: Tensor, rois: Tensor, size: tuple[int, int], scale: float, sampling_ratio: int
) -> Tensor:
    """ONNX's operator; outside of an export it computes nothing."""
    return torch.onnx.ops.symbolic(
        'RoiAlign',
        (features, rois[:, 1:], rois[:, 0].long()),
        dict(
            coordinate_transformation_mode='half_pixel',
            mode='avg',
            output_height=size[0],
            output_width=size[1],
            sampling_ratio=sampling_ratio,
            spatial_scale=scale,
        ),
        dtype=features.dtype,
        shape=(rois.shape[0], features.shape[1], *size),
        version=16,  # the first that knows half pixels, which `aligned` is elsewhere
    )


def roi_align_weights(
    bboxes: Tensor, size: int, scale: float, height: int, width: int
) -> tuple[Tensor, Tensor]:
    """What RoIAlign does to a map `(h, w)`: `(N, h, size)` and `(N, w, size)`.

    The samples of a region are a grid and their weights products of one for each axis, so a region
    is `down^T @ features @ across`. Boxes are `(N, 4)` xyxy in pixels of the input, `scale` is
    1 / stride.
    """
    across, down = bboxes.unflatten(1, (2, 2)).permute(2, 0, 1)  # (N, 2), start and end
    if height == width:  # both axes at once
        across, down = _weights(torch.cat((across, down)), size, scale, width).chunk(2)
        return down, across
    return _weights(down, size, scale, height), _weights(across, size, scale, width)


def _weights(intervals: Tensor, size: int, scale: float, length: int) -> Tensor:
    """Weights `(N, length, size)` of positions in the bins of intervals `(N, 2)` of one axis.

    They are what RoIAlign makes of a map of one row for each position, 1 there and 0 elsewhere.
    """
    rows = torch.eye(length, dtype=intervals.dtype, device=intervals.device)[None, :, None]
    x = F.pad(intervals[..., None], (1, 0)).flatten(1)  # index of the map, x1, y1, x2
    return roi_align(rows, F.pad(x, (0, 1), value=1 / scale), (1, size), scale)[:, :, 0]
