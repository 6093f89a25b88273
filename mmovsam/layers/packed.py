"""Layers whose weights were arranged for inference: folded, in another precision, packed for a CPU.

oneDNN multiplies fastest by weights that lie in memory as its kernels read them, and applies an
activation before a result leaves the cache. Where PyTorch has no such kernels, on a GPU for
example, the same layers use its public functions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_ACTIVATIONS = dict(none=lambda x: x, relu=torch.relu_, gelu=F.gelu)


def can_pack(tensor: Tensor) -> bool:
    """Whether PyTorch has oneDNN's kernels with packed weights for a tensor's device and type."""
    if tensor.device.type != 'cpu' or not torch.backends.mkldnn.is_available():
        return False
    if tensor.dtype == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    return tensor.dtype in (torch.float32, torch.bfloat16)


class InferenceLayer(nn.Module):
    """A layer without parameters, for inference on one device in one precision.

    Args:
        weight: Of the layer, on the device where it will run.
        bias: `(C_out,)`; None for zeros.
        dtype: Precision of weights and results; inputs are converted.
        activation: `'none'`, `'relu'` or `'gelu'`.
        digest: What tells these weights from others.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype, activation: str, digest: str
    ) -> None:
        super().__init__()
        self.activation = activation
        self.digest = digest
        self.precision = str(dtype)
        # No buffers: packed weights are no tensors that could be saved, moved or hashed.
        self._weight = weight.detach().to(dtype)
        bias = weight.new_zeros(len(weight)) if bias is None else bias
        self._bias = bias.detach().to(dtype)
        self._packed = can_pack(self._weight)

    def train(self, mode: bool = True) -> InferenceLayer:
        """Stay in eval mode.

        Raises:
            RuntimeError: It should train.
        """
        if mode:
            raise RuntimeError(
                'This model was prepared for inference and cannot train. Build it again from its '
                'config, or load weights into it, which undoes the preparation.'
            )
        return super().train(mode)

    def _apply(self, fn, recurse: bool = True) -> InferenceLayer:
        """Refuse another device or precision: the weights were arranged for this one."""
        moved = fn(self._bias)
        if (moved.device, moved.dtype) != (self._bias.device, self._bias.dtype):
            raise RuntimeError(
                f'This model was prepared for inference on {self._bias.device} in '
                f'{self._bias.dtype}. Move it first and prepare it then.'
            )
        return self

    def extra_repr(self) -> str:
        return f'{self.activation}, {self._bias.dtype}, packed={self._packed}'


class InferenceLinear(InferenceLayer):
    """`activation(x @ weight.T + bias)`; see `InferenceLayer`."""

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        dtype: torch.dtype,
        activation: str = 'none',
        digest: str = '',
    ) -> None:
        super().__init__(weight, bias, dtype, activation, digest)
        if self._packed:
            self._weight = torch.ops.mkldnn._reorder_linear_weight(self._weight)

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self._bias.dtype)
        if not self._packed:
            return _ACTIVATIONS[self.activation](F.linear(x, self._weight, self._bias))
        return torch.ops.mkldnn._linear_pointwise(
            x, self._weight, self._bias, self.activation, [], 'none'
        )


class InferenceConvTranspose2d(InferenceLayer):
    """A transposed convolution in another precision; see `InferenceLayer`."""

    def __init__(
        self,
        conv: nn.ConvTranspose2d,
        dtype: torch.dtype,
        activation: str = 'none',
        digest: str = '',
    ) -> None:
        super().__init__(conv.weight, conv.bias, dtype, activation, digest)
        self.settings = (conv.stride, conv.padding, conv.output_padding, conv.groups, conv.dilation)

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self._bias.dtype)
        x = F.conv_transpose2d(x, self._weight, self._bias, *self.settings)
        return _ACTIVATIONS[self.activation](x)


def inference_conv2d(
    conv: nn.Conv2d,
    dtype: torch.dtype,
    activation: str = 'none',
    digest: str = '',
    norm: nn.BatchNorm2d | None = None,
) -> InferenceLayer:
    """A convolution with what a batch norm after it does, for inference.

    Args:
        conv: Of one group, padded by zeros.
        dtype: See `InferenceLayer`, like the next two.
        activation: What to apply to the result.
        digest: What tells these weights from others.
        norm: Folded into the weights.
    """
    weight, bias = (conv.weight, conv.bias) if norm is None else _folded(conv, norm)
    if conv.kernel_size == conv.stride == (1, 1) and conv.padding == (0, 0):
        return InferencePointConv2d(weight.flatten(1), bias, dtype, activation, digest)
    return InferenceConv2d(conv, weight, bias, dtype, activation, digest)


class InferencePointConv2d(InferenceLinear):
    """A convolution that sees one position at a time: a matrix product, and faster as such."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class InferenceConv2d(InferenceLayer):
    """A convolution with other weights of the same shape; see `InferenceLayer`."""

    def __init__(
        self,
        conv: nn.Conv2d,
        weight: Tensor,
        bias: Tensor | None,
        dtype: torch.dtype,
        activation: str,
        digest: str,
    ) -> None:
        super().__init__(weight, bias, dtype, activation, digest)
        self.settings = (conv.padding, conv.stride, conv.dilation)
        self._weight = self._weight.contiguous(memory_format=torch.channels_last)
        if self._packed:
            self._weight = torch.ops.mkldnn._reorder_convolution_weight(
                self._weight, *self.settings, 1, None
            )

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self._bias.dtype).contiguous(memory_format=torch.channels_last)
        padding, stride, dilation = self.settings
        if not self._packed:
            x = F.conv2d(x, self._weight, self._bias, stride, padding, dilation)
            return _ACTIVATIONS[self.activation](x)
        return torch.ops.mkldnn._convolution_pointwise(
            x, self._weight, self._bias, *self.settings, 1, self.activation, [], 'none'
        )


def _folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution that does what a batch norm in eval mode does after it."""
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    shift = -norm.running_mean.double() * scale
    if norm.affine:
        scale, shift = scale * norm.weight, shift * norm.weight + norm.bias
    weight = conv.weight.double() * scale[:, None, None, None]
    if conv.bias is not None:
        shift = shift + conv.bias * scale
    return weight.to(conv.weight), shift.to(conv.weight)
