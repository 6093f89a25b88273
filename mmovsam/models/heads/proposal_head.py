"""Class-agnostic box proposals."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmcv.ops import nms
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from .window_decoder import NormalizedConv

MAX_LOG_SIDE = 4.0
PRIOR = -4.0
"""Logit of the score before training: objects are rare."""
MIN_SIDE = 3.0
"""Boxes with a shorter side, in pixels of the input, are left out."""


@MODELS.register_module()
class ProposalHead(BaseModule):
    """One-class FCOS (Tian et al., 2019) on the tower's coarse maps.

    Args:
        image_size: Side of the network's input in pixels.
        in_channels: Channels of these maps, from fine to coarse.
        strides: Their strides in pixels of the input, each twice the one before.
        channels: Width of the head.
        num_convs: Convolutions, shared by all levels.
        init_cfg: MMEngine's initialization.
    """

    def __init__(
        self,
        image_size: int = 512,
        in_channels: Sequence[int] = (48, 120, 352),
        strides: Sequence[int] = (8, 16, 32),
        channels: int = 64,
        num_convs: int = 2,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.image_size, self.strides = image_size, tuple(strides)
        self.inputs = nn.ModuleList(NormalizedConv(width, channels) for width in in_channels)
        self.context = nn.Conv2d(channels, channels, 3, padding=1)
        self.smooth = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, padding=1) for _ in in_channels
        )
        self.convs = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(num_convs)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(8, channels) for _ in range(num_convs))
        self.score = nn.Conv2d(channels, 1, 3, padding=1)
        self.box = nn.Conv2d(channels, 4, 3, padding=1)
        self.scales = nn.Parameter(torch.ones(len(self.strides)))
        nn.init.constant_(self.score.bias, PRIOR)
        for layer in (self.score, self.box):
            nn.init.normal_(layer.weight, std=0.01)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Score logits `(B, L)` and boxes `(B, L, 4)`, xyxy in pixels of the input.

        Args:
            maps: `(B, C, S / s, S / s)` each, from fine to coarse, of L positions in all.
        """
        levels = [conv(level) for conv, level in zip(self.inputs, maps)]
        levels[-1] = levels[-1] + F.relu(self.context(F.relu(levels[-1])))
        for fine in range(len(levels) - 2, -1, -1):
            levels[fine] = levels[fine] + F.interpolate(levels[fine + 1], scale_factor=2)
        scores, distances = [], []
        for level, smooth, scale, stride in zip(levels, self.smooth, self.scales, self.strides):
            x = F.relu(smooth(F.relu(level)))
            for conv, norm in zip(self.convs, self.norms):
                x = F.relu(norm(conv(x)))
            scores.append(self.score(x).flatten(1))
            distance = (self.box(x) * scale).clamp(max=MAX_LOG_SIDE).exp() * (2 * stride)
            distances.append(distance.flatten(2).transpose(1, 2))
        left_top, right_bottom = torch.cat(distances, dim=1).split(2, dim=2)
        centers, _ = self.places(left_top.device)
        return torch.cat(scores, dim=1), torch.cat((centers - left_top, centers + right_bottom), 2)

    def places(self, device: torch.device | str = 'cpu') -> tuple[Tensor, Tensor]:
        """Centers `(L, 2)` of positions, xy in pixels of the input, and their strides `(L,)`."""
        centers, strides = [], []
        for stride in self.strides:
            steps = (torch.arange(self.image_size // stride, device=device) + 0.5) * stride
            y, x = torch.meshgrid(steps, steps, indexing='ij')
            centers.append(torch.stack((x.flatten(), y.flatten()), dim=1))
            strides.append(torch.full((len(centers[-1]),), float(stride), device=device))
        return torch.cat(centers), torch.cat(strides)

    @torch.no_grad()
    def propose(
        self,
        maps: Sequence[Tensor],
        img_shape: Sequence[int],
        count: int = 100,
        nms_iou: float = 0.6,
    ) -> tuple[Tensor, Tensor]:
        """The best boxes of one image after non-maximum suppression.

        Args:
            maps: As for `forward`, of a batch of one.
            img_shape: `(H, W)` of the image in the input.
            count: Maximum number of boxes.
            nms_iou: IoU above which the less probable of two boxes is left out.

        Returns:
            Boxes `(N, 4)` xyxy in pixels of the input, clipped to the image, and their scores
            `(N,)`, 0 to 1, the highest first; both on the host.
        """
        logits, bboxes = self([level.float() for level in maps])
        scores, best = logits[0].sigmoid().topk(min(4 * count, logits.shape[1]))
        bboxes, scores = bboxes[0, best].cpu(), scores.cpu()  # few, and a GPU's mmcv may lack nms
        height, width = img_shape[:2]
        limit = bboxes.new_tensor([width, height, width, height])
        bboxes = bboxes.clamp(min=0).minimum(limit)
        large = ((bboxes[:, 2:] - bboxes[:, :2]) >= MIN_SIDE).all(1)
        bboxes, scores = bboxes[large], scores[large]
        if len(bboxes):
            bboxes, scores = nms(bboxes, scores, nms_iou)[0].split((4, 1), dim=1)
        return bboxes[:count], scores[:count].reshape(-1)
