"""SAM's mask decoder, with room for further tokens in front."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from .mlp import MLP
from .norm import LayerNorm2d
from .two_way_transformer import TwoWayTransformer


class DecodedMasks(NamedTuple):
    """What the decoder says of N prompts."""

    low_res_logits: Tensor
    """`(N, M, 4h, 4w)`, a mask's inside is above 0."""
    iou_predictions: Tensor | None
    """`(N, M)`, or None without the head for it."""
    extra_tokens: Tensor
    """`(N, E, C)`, the extra tokens after the transformer."""


class MaskDecoder(nn.Module):
    """From image embedding and prompt embeddings to mask logits.

    Args:
        channels: Width C.
        num_masks: Mask tokens: 1, or 4 as in SAM's files (the first for unambiguous prompts).
        with_iou: Whether a token and a head predict each mask's quality, as in SAM's files.
        depth: Layers of the transformer.
        num_heads: Heads of the transformer.
        mlp_channels: Hidden width of the transformer's MLPs.
    """

    def __init__(
        self,
        channels: int = 256,
        num_masks: int = 1,
        with_iou: bool = False,
        depth: int = 2,
        num_heads: int = 8,
        mlp_channels: int = 2048,
    ) -> None:
        super().__init__()
        self.transformer = TwoWayTransformer(depth, channels, num_heads, mlp_channels)
        self.iou_token = nn.Embedding(1, channels) if with_iou else None
        self.mask_tokens = nn.Embedding(num_masks, channels)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(channels, channels // 4, 2, stride=2),
            LayerNorm2d(channels // 4),
            nn.GELU(),
            nn.ConvTranspose2d(channels // 4, channels // 8, 2, stride=2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(
            MLP(channels, channels, channels // 8, 3) for _ in range(num_masks)
        )
        self.iou_prediction_head = MLP(channels, channels, num_masks, 3) if with_iou else None
        # the public name of this is younger than the oldest torch that we support
        self._register_load_state_dict_pre_hook(_take_first_masks, with_module=True)

    def forward(
        self,
        image_embedding: Tensor,
        image_pe: Tensor,
        sparse_embeddings: Tensor,
        dense_embeddings: Tensor,
        extra_tokens: Tensor | None = None,
    ) -> DecodedMasks:
        """Decode the prompts of one image.

        Args:
            image_embedding: `(1, C, h, w)`.
            image_pe: `(1, C, h, w)`.
            sparse_embeddings: `(N, S, C)`, embedded points and boxes.
            dense_embeddings: `(N or 1, C, h, w)`, embedded masks; with 1 all prompts share it.
            extra_tokens: `(E, C)`, put before all others.
        """
        height, width = image_embedding.shape[-2:]
        own = [] if self.iou_token is None else [self.iou_token.weight]
        own.append(self.mask_tokens.weight)
        num_extra = 0
        if extra_tokens is not None:
            own.insert(0, extra_tokens)
            num_extra = extra_tokens.shape[0]
        own = torch.cat(own)[None].expand(sparse_embeddings.shape[0], -1, -1)
        tokens = torch.cat((own, sparse_embeddings.to(own)), dim=1)

        image = (image_embedding + dense_embeddings).flatten(2).transpose(1, 2)
        image_pe = image_pe.to(image).flatten(2).transpose(1, 2)
        tokens, image = self.transformer(image, image_pe, tokens)

        first_mask = num_extra + (self.iou_token is not None)
        features = self.output_upscaling(image.transpose(1, 2).unflatten(2, (height, width)))
        weights = torch.stack(
            [
                mlp(tokens[:, first_mask + i])
                for i, mlp in enumerate(self.output_hypernetworks_mlps)
            ],
            dim=1,
        )
        logits = (weights @ features.flatten(2)).unflatten(2, features.shape[-2:])
        iou = None
        if self.iou_prediction_head is not None:
            iou = self.iou_prediction_head(tokens[:, num_extra])
        return DecodedMasks(logits, iou, tokens[:, :num_extra])


def _take_first_masks(decoder: MaskDecoder, state_dict: dict, prefix: str, *_) -> None:
    """Let a decoder of one mask read SAM's files, which hold four: keep the first of them."""
    num_masks = decoder.mask_tokens.num_embeddings
    key = f'{prefix}mask_tokens.weight'
    if key not in state_dict or len(state_dict[key]) <= num_masks:
        return
    for index in range(num_masks, len(state_dict[key])):
        mlp = f'{prefix}output_hypernetworks_mlps.{index}.'
        for name in [name for name in state_dict if name.startswith(mlp)]:
            del state_dict[name]
    state_dict[key] = state_dict[key][:num_masks]
