"""RoIAlign of one map: as an operator, and as matrix products."""

import mmcv.ops
import torch
from torch import Tensor

from .tensors import is_exporting

WITH_CUDA = mmcv.ops.get_compiling_cuda_version() != 'not available'
OPERATORS_OF_MMCV = ('cpu', 'cuda') if WITH_CUDA else ('cpu',)
"""Devices for which this build of mmcv has operators."""


def to_rois(bboxes: Tensor, image_index: Tensor | None = None) -> Tensor:
    """Boxes `(N, 4)` behind the index of their image in the batch, `(N, 5)`; of the first if None.

    `image_index` is `(N,)`.
    """
    if image_index is None:
        return torch.nn.functional.pad(bboxes, (1, 0))
    return torch.cat((image_index[:, None].to(bboxes), bboxes), dim=1)


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
    """What RoIAlign (He et al., 2017) does to a map `(h, w)`: `(N, size, h)` and `(N, size, w)`.

    It is aligned, with as many samples as it chooses. The samples of a region are a grid and their
    weights products of one for each axis, so a region is `down @ features @ across^T`. Boxes are
    `(N, 4)` xyxy in pixels of the input, `scale` is 1 / stride. On a GPU a box is at most twice
    as long as the map: to learn how long the longest is would mean to wait.
    """
    start, end = (bboxes.T * scale - 0.5).contiguous().unflatten(0, (2, 2))
    if height == width:  # both axes at once
        across, down = _weights(start.flatten(), end.flatten(), size, width).chunk(2)
        return down, across
    return tuple(_weights(start[i], end[i], size, side) for i, side in ((1, height), (0, width)))


def _weights(start: Tensor, end: Tensor, size: int, length: int) -> Tensor:
    """How much each of `length` positions counts in each of `size` bins, `(N, size, length)`.

    Intervals go from `start` to `end`, `(N,)`; a position's own value is at its whole number.
    """
    per_bin = (end - start) / size
    number = per_bin.ceil().clamp(min=0)  # of samples in a bin
    if start.device.type == 'cpu':
        most = int(number.max()) if len(number) else 0
    else:
        most = -(-2 * length // size)
    start, per_bin, number = (each[:, None, None] for each in (start, per_bin, number))
    total = number.clamp(min=1)
    sample, bins, position = (torch.arange(n, device=start.device) for n in (most, size, length))
    place = start + (bins[:, None] + (sample + 0.5) / total) * per_bin  # (N, size, most)
    counts = (sample < number) & (place >= -1) & (place <= length)
    distance = (place.clamp(0, length - 1)[..., None] - position).abs()
    return ((1 - distance).clamp(min=0) * counts[..., None]).sum(2) / total
