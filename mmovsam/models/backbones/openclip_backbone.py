"""Any open_clip image tower as a feature pyramid."""

from __future__ import annotations

import torch
from mmdet.registry import MODELS
from torch import Tensor

from ...layers import fold_batch_norms, without_autocast
from ...layers.tensors import is_exporting
from ...vocabulary import clip_model_config
from ..freezable import Freezable
from .clip_towers import STRIDES, describe_tower


@MODELS.register_module()
class OpenCLIPBackbone(Freezable):
    """An open_clip image tower: four maps at strides 4, 8, 16 and 32, and region embeddings.

    Supported are the ResNet, ConvNeXt and ViT families, see `clip_towers.py`. The tower is
    open_clip's own, under `visual`, so its checkpoints load unchanged.

    Args:
        model: A name that open_clip knows, or a configuration in its form. Nothing is downloaded.
        frozen: Keep the tower in eval mode and without gradients.
        init_cfg: MMEngine's initialization.

    Raises:
        ValueError: The model is unknown or its tower is of a family that is not supported.
    """

    def __init__(
        self,
        model: str | dict = 'RN50x16',
        frozen: bool = True,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        import open_clip

        config = clip_model_config(model)
        self.visual = open_clip.model._build_vision_tower(
            config['embed_dim'], config['vision_cfg'], config.get('quick_gelu', False)
        )
        self.tower = describe_tower(self.visual)
        if self.tower is None:
            kind = type(getattr(self.visual, 'trunk', self.visual)).__name__
            raise ValueError(
                f'The image tower of {model!r} is of the kind {kind}. Supported are '
                'ResNets with attention pooling (RN50, RN50x16, ...), ConvNeXt (convnext_base, '
                '...) and plain ViTs (ViT-B-16, ViT-L-14, ...).'
            )
        self.channels = self.tower.channels  # of the four maps
        self.strides = STRIDES
        self.embed_dim = self.tower.embed_dim  # width D of CLIP's joint space
        self.freeze(frozen)

    @property
    def dtype(self) -> torch.dtype:
        """Data type of the weights."""
        return next(self.visual.parameters()).dtype

    @property
    def image_size(self) -> tuple[int, int]:
        """`(H, W)` in pixels of CLIP's own input."""
        size = self.visual.image_size
        return (size, size) if isinstance(size, int) else tuple(size)

    def fold_batch_norms(self) -> None:
        """Fold the batch norms of a ResNet into its convolutions, for good."""
        fold_batch_norms(self.visual)

    def init_weights(self) -> None:
        """Load the weights of `init_cfg`; without it keep open_clip's initialization."""
        if self.init_cfg:
            super().init_weights()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Four maps `(B, C_i, H / s_i, W / s_i)` of normalized images `(B, 3, H, W)`."""
        return self.tower.pyramid(self.visual, x.to(self.dtype))

    def embed_images(self, images: Tensor) -> Tensor:
        """CLIP's embeddings `(B, D)` of images `(B, 3, *image_size)`, not normalized."""
        embeddings = self.visual(images.to(self.dtype))
        # some towers are configured to return their patch tokens too
        return embeddings[0] if isinstance(embeddings, tuple) else embeddings

    def embed_regions(self, stage4: Tensor, bboxes: Tensor, mask_logits: Tensor) -> Tensor:
        """CLIP's embeddings `(N, D)` of regions of one image, not normalized.

        Args:
            stage4: `(1, C, h, w)`, the last map of the image.
            bboxes: `(N, 4)` xyxy in pixels of the network's input.
            mask_logits: `(N, 1, H, W)` over the network's input.
        """
        if not is_exporting() and len(bboxes) == 0:
            return stage4.new_zeros(0, self.embed_dim)
        stage4 = stage4.to(self.dtype)
        with without_autocast(stage4):
            return self.tower.embed_regions(self.visual, stage4, bboxes, mask_logits)
