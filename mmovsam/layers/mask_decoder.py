"""SAM's mask decoder, with room for further tokens in front."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import MLP, LayerNorm2d
from .derived import Derived
from .prompt_maps import PROMPT_MAPS
from .tensors import in_parts, joined
from .two_way_transformer import ProjectedImage, TwoWayTransformer

# So much at a time fits a CPU's cache:
VALUES_AT_ONCE = 2**21  # of image features
POSITIONS_AT_ONCE = 2**10  # of them, while they are upscaled


class DecodedMasks(NamedTuple):
    """What the decoder says of N prompts."""

    low_res_logits: Tensor
    """`(N, M, 4h, 4w)`, or 8 times of a decoder of high resolution; a mask's inside is above 0."""
    iou_predictions: Tensor | None
    """`(N, M)`, or None without the head for it."""
    extra_tokens: Tensor
    """`(N, E, C)`, the extra tokens after the transformer."""


class MaskDecoder(Derived):
    """From image embedding and prompt embeddings to mask logits.

    Args:
        channels: Width C.
        num_masks: Mask tokens: 1, or 4 as in SAM's files (the first for unambiguous prompts).
        with_iou: Whether a token and a head predict each mask's quality, as in SAM's files.
        depth: Layers of the transformer.
        num_heads: Heads of the transformer.
        mlp_channels: Hidden width of the transformer's MLPs.
        high_resolution: Whether fine maps of the image are added while its embedding is upscaled,
            as in SAM 2, here in three steps to logits at 8 times its resolution in place of 4. Maps
            of the prompts' boxes and masks are added too: the tokens know their places coarsely.
    """

    def __init__(
        self,
        channels: int = 256,
        num_masks: int = 1,
        with_iou: bool = False,
        depth: int = 2,
        num_heads: int = 8,
        mlp_channels: int = 2048,
        high_resolution: bool = False,
    ) -> None:
        super().__init__()
        self.high_resolution = high_resolution
        self.upscaling = 8 if high_resolution else 4
        width = channels // (16 if high_resolution else 8)
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
        if high_resolution:
            self.output_upscaling.append(nn.ConvTranspose2d(channels // 8, width, 2, stride=2))
            self.output_upscaling.append(nn.GELU())
            widths = (width, channels // 8, channels // 4, channels)
            self.paint = nn.ModuleList(
                nn.Conv2d(PROMPT_MAPS, each, 1, bias=False) for each in widths
            )
        self.output_hypernetworks_mlps = nn.ModuleList(
            MLP(channels, channels, width, 3) for _ in range(num_masks)
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
        high_res_maps: Sequence[Tensor] = (),
        prompt_maps: Tensor | None = None,
    ) -> DecodedMasks:
        """Decode the prompts of one image, or in training of one image each.

        Args:
            image_embedding: `(1, C, h, w)`, or `(N, C, h, w)`.
            image_pe: `(1, C, h, w)`.
            sparse_embeddings: `(N, S, C)`, embedded points and boxes.
            dense_embeddings: `(N or 1, C, h, w)`, embedded masks; with 1 all prompts share it.
            extra_tokens: `(E, C)`, put before all others.
            high_res_maps: For a decoder of high resolution, `(1 or N, C_i, h * f, w * f)` for f of
                8, 4 and 2, with C / 16, C / 8 and C / 4 channels.
            prompt_maps: For such a decoder, `(N, 2, h * 8, w * 8)` of `prompt_maps`.
        """
        height, width = image_embedding.shape[-2:]
        output_tokens = [] if self.iou_token is None else [self.iou_token.weight]
        output_tokens.append(self.mask_tokens.weight)
        num_extra = 0
        if extra_tokens is not None:
            output_tokens.insert(0, extra_tokens)
            num_extra = extra_tokens.shape[0]
        num, sparse = sparse_embeddings.shape[0], sparse_embeddings.to(output_tokens[0])
        tokens = torch.cat([*(token.expand(num, -1, -1) for token in output_tokens), sparse], dim=1)

        if self.high_resolution:
            dense_embeddings, high_res_maps = self._painted(
                dense_embeddings, high_res_maps, prompt_maps
            )
        image = (image_embedding + dense_embeddings).flatten(2).transpose(1, 2).contiguous()
        image_pe = image_pe.to(image).flatten(2).transpose(1, 2).contiguous()
        first_mask = num_extra + (self.iou_token is not None)
        size = (height, width)
        if self.high_resolution:
            tokens, logits = self._decode_finely(
                image, image_pe, tokens, size, first_mask, high_res_maps
            )
        else:
            tokens, logits = self._decode(image, image_pe, tokens, size, first_mask)
        iou = None
        if self.iou_prediction_head is not None:
            iou = self.iou_prediction_head(tokens[:, num_extra])
        return DecodedMasks(logits, iou, tokens[:, :num_extra])

    def _decode(
        self,
        image: Tensor,
        image_pe: Tensor,
        tokens: Tensor,
        size: tuple[int, int],
        first_mask: int,
    ) -> tuple[Tensor, Tensor]:
        """Tokens `(N, T, C)` after the transformer and logits `(N, M, 4 * h, 4 * w)`.

        On a CPU a few prompts at a time, so that what is made of them stays in the cache. The image
        is `(N or 1, h * w, C)`, `first_mask` the index of the first mask token.
        """
        if not in_parts(tokens):
            return self._decode_chunk(image, image_pe, tokens, size, first_mask)
        shared = image.shape[0] != tokens.shape[0]
        projected = self.transformer.project(image, image_pe) if shared else None
        step = max(1, VALUES_AT_ONCE // image[0].numel())
        decoded = []
        for start in range(0, max(len(tokens), 1), step):
            chunk = slice(start, start + step)
            inputs = image if shared else image[chunk], image_pe, tokens[chunk]
            decoded.append(self._decode_chunk(*inputs, size, first_mask, projected))
        if len(decoded) == 1:
            return decoded[0]
        return tuple(torch.cat(parts) for parts in zip(*decoded))

    def _decode_chunk(
        self,
        image: Tensor,
        image_pe: Tensor,
        tokens: Tensor,
        size: tuple[int, int],
        first_mask: int,
        projected: ProjectedImage | None = None,
    ) -> tuple[Tensor, Tensor]:
        """As `_decode`; `projected` is what the transformer made of a shared image before."""
        tokens, image = self.transformer(image, image_pe, tokens, projected)
        return tokens, self._masks(image, self._mask_weights(tokens, first_mask), size)

    def _decode_finely(
        self,
        image: Tensor,
        image_pe: Tensor,
        tokens: Tensor,
        size: tuple[int, int],
        first_mask: int,
        high_res_maps: Sequence[Tensor],
    ) -> tuple[Tensor, Tensor]:
        """As `_decode`, with fine maps: logits are `(N, M, 8 * h, 8 * w)`."""
        tokens, image = self.transformer(image, image_pe, tokens)
        x = image.transpose(1, 2).unflatten(2, size)
        first, norm, act, second, _, third, _ = self.output_upscaling
        finest, finer, fine = high_res_maps
        x = act(norm(first(x) + fine))
        x = act(second(x) + finer)
        x = act(third(x) + finest)
        weights = self._mask_weights(tokens, first_mask)
        return tokens, (weights @ x.flatten(2)).unflatten(2, x.shape[-2:])

    def _painted(
        self, dense: Tensor, high_res_maps: Sequence[Tensor], prompt_maps: Tensor | None
    ) -> tuple[Tensor, list[Tensor]]:
        """Dense embeddings and fine maps, with what the prompts paint on them."""
        if prompt_maps is None:
            return dense, list(high_res_maps)
        painted = []
        for level, paint in zip((*high_res_maps, dense), self.paint):
            if prompt_maps.shape[-1] != level.shape[-1]:
                prompt_maps = F.avg_pool2d(prompt_maps, 2)
            painted.append(level + paint(prompt_maps.to(paint.weight)))
        return painted[-1], painted[:-1]

    def _mask_weights(self, tokens: Tensor, first: int) -> Tensor:
        """Weights `(N, M, C / 8)` of the upscaled image, from tokens `first` to `first + M`."""
        mlps = enumerate(self.output_hypernetworks_mlps, first)
        return joined([mlp(tokens[:, index])[:, None] for index, mlp in mlps], dim=1)

    def _masks(self, image: Tensor, weights: Tensor, size: tuple[int, int]) -> Tensor:
        """The products of masks' weights and the upscaled image, channels last throughout.

        A transposed convolution whose stride is its kernel makes a square of each position and
        mixes no two of them. So both are matrix products, and only the logits are put in order:
        `(N, M, 4 * h, 4 * w)` of an image `(N, h * w, C)` and weights `(N, M, C / 8)`.
        """
        layers = self.derived()
        if in_parts(image):
            num, length = image.shape[:2]
            logits = image.new_empty(num, length * 16, weights.shape[1])
            for index, start in product(range(num), range(0, length, POSITIONS_AT_ONCE)):
                prompt, stop = slice(index, index + 1), start + POSITIONS_AT_ONCE
                part = self._upscaled(image[prompt, start:stop], weights[prompt], layers)
                logits[prompt, start * 16 : stop * 16] = part
        else:
            logits = self._upscaled(image, weights, layers)
        # (N, h, w, row and column in the first square, in the second, M)
        logits = logits.unflatten(1, (*size, 2, 2, 2, 2))
        return logits.permute(0, 7, 1, 3, 5, 2, 4, 6).flatten(5).flatten(2, 4)

    def _upscaled(self, image: Tensor, weights: Tensor, layers: tuple[Tensor, ...]) -> Tensor:
        """Logits `(N, L * 16, M)` of L positions; `layers` are those of `derive`."""
        _, norm, act, _, last_act = self.output_upscaling
        first_weight, first_bias, second_weight, second_bias = layers
        features = _squares(F.linear(image, first_weight, first_bias))
        features = F.layer_norm(features, features.shape[-1:], norm.weight, norm.bias, norm.eps)
        features = _squares(last_act(F.linear(act(features), second_weight, second_bias)))
        return features @ weights.transpose(1, 2)

    def derive(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The transposed convolutions as linear layers: weights `(4 * out_channels, C)`, bias."""
        first, _, _, second, *_ = self.output_upscaling
        return tuple(
            tensor
            for conv in (first, second)
            for tensor in (conv.weight.permute(2, 3, 1, 0).flatten(0, 2), conv.bias.repeat(4))
        )


def _squares(x: Tensor) -> Tensor:
    """Squares `(N, L, 4 * C)` as positions `(N, 4 * L, C)`."""
    return x.reshape(x.shape[0], -1, x.shape[-1] // 4)


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
