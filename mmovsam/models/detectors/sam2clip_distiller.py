"""Stage one of OVSAM: the adapter learns SAM's embedding."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.model import BaseModel
from torch import Tensor


@MODELS.register_module()
class SAM2CLIPDistiller(BaseModel):
    """Mean squared error between SAM's embedding and what the neck makes of CLIP's pyramid.

    Args:
        backbone: The frozen CLIP tower.
        neck: The adapter, the only part that trains.
        teacher: SAM's image encoder, frozen.
        data_preprocessor: Normalizes and pads.
        init_cfg: MMEngine's initialization.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        teacher: dict,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        self.backbone = MODELS.build(backbone)
        self.neck = MODELS.build(neck)
        self.teacher = MODELS.build(teacher)
        self.teacher.frozen = True
        self.teacher.requires_grad_(False).eval()

    def init_weights(self) -> None:
        """Initialize, and give the neck the teacher's position embedding where the shapes agree."""
        super().init_weights()
        position = self.teacher.pos_embed
        if self.neck.pos_embed.shape == position.shape:
            self.neck.pos_embed.copy_(position.detach())

    def forward(
        self, inputs: Tensor, data_samples: list | None = None, mode: str = 'tensor'
    ) -> Tensor | dict[str, Tensor]:
        """Adapt a batch, or compare it with the teacher.

        Args:
            inputs: `(B, 3, S, S)`, normalized and padded.
            data_samples: Not used.
            mode: `'tensor'` for the student's embedding `(B, C, S / 16, S / 16)`, `'loss'` for
                the loss.

        Raises:
            ValueError: Another mode.
        """
        if mode not in ('tensor', 'loss'):
            raise ValueError(f"SAM2CLIPDistiller has modes 'tensor' and 'loss', not {mode!r}.")
        student = self.neck(self.backbone(inputs))
        if mode == 'tensor':
            return student
        with torch.no_grad():
            teacher = self.teacher(inputs)
        return dict(loss_distill=F.mse_loss(student, teacher))
