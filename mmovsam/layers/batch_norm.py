"""Batch normalization over all processes, and folding into convolutions."""

from __future__ import annotations

import torch
from mmengine.dist import get_world_size
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """`nn.SyncBatchNorm` that works on a CPU too, with the same parameters and buffers."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalize `(B, C, H, W)`."""
        if not self.training or get_world_size() == 1:
            return super().forward(x)
        from torch.distributed.nn.functional import all_reduce

        count = all_reduce(x.new_tensor(x.numel() / x.shape[1], dtype=torch.float32))
        mean = all_reduce(x.float().sum((0, 2, 3))) / count
        centered = x.float() - mean[:, None, None]
        variance = all_reduce(centered.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centered * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)


def fold_batch_norms(module: nn.Module) -> None:
    """Fold each batch norm into the convolution that is the child before it, in place.

    The norm is replaced by its activation, which timm's have, or by the identity.
    """
    children = list(module.named_children())
    for (name, child), (next_name, follower) in zip(children, [*children[1:], ('', None)]):
        if isinstance(child, nn.Conv2d) and isinstance(follower, nn.BatchNorm2d):
            setattr(module, name, fuse_conv_bn_eval(child, follower))
            setattr(module, next_name, getattr(follower, 'act', nn.Identity()))
        else:
            fold_batch_norms(child)
