"""SAM's prompt encoder."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor, nn

from ...layers import LayerNorm2d, at_least_float32
from ...layers.derived import Derived
from ...layers.tensors import joined
from ...prompts import Prompts
from ..freezable import Freezable


class RandomPositionEncoding(Derived):
    """Positions as sines and cosines of random projections (Tancik et al., 2020)."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.register_buffer('positional_encoding_gaussian_matrix', torch.randn(2, num_features))

    def derive(self) -> tuple[Tensor, Tensor]:
        """Frequencies `(2, 2 * num_features)` of x and y, and phases `(2 * num_features,)`.

        The angles are `2 * pi * (2 * coords - 1) @ matrix`, and a cosine is a sine a quarter later.
        """
        matrix = 2 * math.pi * at_least_float32(self.positional_encoding_gaussian_matrix)
        phases = -matrix.sum(0)
        return 2 * matrix.repeat(1, 2), torch.cat((phases, phases + math.pi / 2))

    def forward(self, coords: Tensor) -> Tensor:
        """`(..., 2)` xy in [0, 1] to `(..., 2 * num_features)`."""
        frequencies, phases = self.derived()
        x, y = coords.to(phases).split(1, dim=-1)
        # no product of matrices, whose rounding (autocast, TF32) would move a point by pixels
        return phases.addcmul(x, frequencies[0]).addcmul(y, frequencies[1]).sin()


@MODELS.register_module()
class SAMPromptEncoder(Derived, Freezable):
    """Points with labels, boxes and masks as embeddings (Kirillov et al., 2023, appendix A).

    Args:
        embed_dim: Width C.
        image_size: Side of the square network input in pixels.
        mask_channels: Inner width of the mask branch.
        train_masks: Whether the mask branch trains, as where earlier masks are refined.
        frozen: Keep the encoder in eval mode and without gradients.
        init_cfg: MMEngine's initialization.
    """

    def __init__(
        self,
        embed_dim: int = 256,
        image_size: int = 1024,
        mask_channels: int = 16,
        train_masks: bool = False,
        frozen: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.image_size = image_size
        self.embedding_side = image_size // 16
        self.pe_layer = RandomPositionEncoding(embed_dim // 2)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, embed_dim) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, embed_dim)
        self.no_mask_embed = nn.Embedding(1, embed_dim)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, mask_channels // 4, 2, stride=2),
            LayerNorm2d(mask_channels // 4),
            nn.GELU(),
            nn.Conv2d(mask_channels // 4, mask_channels, 2, stride=2),
            LayerNorm2d(mask_channels),
            nn.GELU(),
            nn.Conv2d(mask_channels, embed_dim, 1),
        )
        # Where no mask is a prompt it has no gradient, and must not be expected to have one.
        self.mask_downscaling.requires_grad_(train_masks)
        self._dense_pe: tuple[Tensor, int, Tensor] | None = None
        self.freeze(frozen)

    def dense_pe(self) -> Tensor:
        """Position of every place of the image embedding, `(1, C, h, w)`; it is kept."""
        if torch.compiler.is_compiling():
            return self._made_dense_pe()
        matrix = self.pe_layer.positional_encoding_gaussian_matrix
        if self._dense_pe is not None:
            of_matrix, version, dense_pe = self._dense_pe
            if of_matrix is matrix and version == matrix._version:  # no weights loaded, not moved
                return dense_pe
        with torch.inference_mode(False):  # training may read it later
            dense_pe = self._made_dense_pe()
        self._dense_pe = matrix, matrix._version, dense_pe
        return dense_pe

    def _made_dense_pe(self) -> Tensor:
        side = self.embedding_side
        centers = (torch.arange(side, device=self.no_mask_embed.weight.device) + 0.5) / side
        grid = torch.stack(torch.meshgrid(centers, centers, indexing='xy'), dim=-1)
        return self.pe_layer(grid).permute(2, 0, 1)[None]

    def forward(self, prompts: Prompts) -> tuple[Tensor, Tensor]:
        """Embed N prompts of one kind of one image, in pixels of the network's input.

        Returns:
            Sparse embeddings `(N, S, C)`, S the number of points and box corners, and dense
            embeddings `(N, C, h, w)` of the masks, or `(1, C, h, w)` without masks.
        """
        sparse = []
        if prompts.point_coords is not None:
            coords, labels = prompts.point_coords + 0.5, prompts.point_labels
            if prompts.bboxes is None:
                coords = torch.cat((coords, coords.new_zeros(len(coords), 1, 2)), dim=1)
                labels = torch.cat((labels, -labels.new_ones(len(labels), 1)), dim=1)
            sparse.append(self._embed_points(coords, labels))
        if prompts.bboxes is not None:
            corners = self.pe_layer((prompts.bboxes.unflatten(1, (2, 2)) + 0.5) / self.image_size)
            (kinds,) = self.derived()
            sparse.append(corners + kinds)
        if sparse:
            sparse = joined(sparse, dim=1)
        else:
            sparse = self.no_mask_embed.weight.new_zeros(
                len(prompts), 0, self.no_mask_embed.embedding_dim
            )
        if prompts.mask_input is not None:
            dense = self.embed_masks(prompts.mask_input)
        else:
            side = self.embedding_side
            dense = self.no_mask_embed.weight[:, :, None, None].expand(-1, -1, side, side)
        return sparse, dense

    def derive(self) -> tuple[Tensor]:
        """Embeddings `(2, C)` of a box's two corners."""
        return (torch.cat([self.point_embeddings[i].weight for i in (2, 3)]),)

    def embed_masks(self, mask_input: Tensor) -> Tensor:
        """Dense embeddings `(N, C, h, w)` of masks `(N, 1, 4h, 4w)`, or of a multiple of it."""
        masks, side = mask_input.to(self.no_mask_embed.weight), 4 * self.embedding_side
        if masks.shape[-1] != side:
            masks = F.adaptive_avg_pool2d(masks, side)
        return self.mask_downscaling(masks)

    def _embed_points(self, coords: Tensor, labels: Tensor) -> Tensor:
        embedded = self.pe_layer(coords / self.image_size)
        labels = labels[..., None]
        embedded = torch.where(labels == -1, self.not_a_point_embed.weight, embedded)
        for label in (0, 1):
            labeled = embedded + self.point_embeddings[label].weight
            embedded = torch.where(labels == label, labeled, embedded)
        return embedded
