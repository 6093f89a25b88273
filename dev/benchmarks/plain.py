"""A plain implementation of the models, as in the papers, for tests and benchmarks.

It has explicit attention, image features repeated for each prompt, full pooling of each region,
unfused norms, and masks upsampled as a whole.
"""

from __future__ import annotations

import copy
from itertools import chain

import numpy as np
import torch
import torch.nn.functional as F
from mmcv.ops import roi_align
from pycocotools import mask as coco_mask
from torch import Tensor, nn

from mmovsam.layers import LayerNorm2d, MaskDecoder, TwoWayTransformer, at_least_float32
from mmovsam.layers.two_way_transformer import ProjectedAttention, TwoWayBlock
from mmovsam.layers.vit import RelPosAttention
from mmovsam.models.backbones.clip_towers import STRIDES, ResNetTower


def plain_twin(model: nn.Module) -> nn.Module:
    """A plain model that shares the parameters of a model not prepared for inference."""
    shared = {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())}
    twin = copy.deepcopy(model, shared)
    for module in twin.modules():
        for child in (module, getattr(module, 'tower', None)):
            if type(child) in _PLAIN:
                child.__class__ = _PLAIN[type(child)]
    return twin


def masks_to_rle(
    low_res_logits: Tensor, input_size: int, img_shape: tuple, ori_shape: tuple
) -> list[dict]:
    """Masks at the size of an image, encoded by pycocotools.

    Args:
        low_res_logits: `(N, 1, h, w)` over the padded square.
        input_size: Side of that square in pixels.
        img_shape: `(H, W)` of the image inside the square.
        ori_shape: `(H, W)` of the image.
    """
    encoded = []
    for logits in low_res_logits.split(1):
        logits = F.interpolate(logits, (input_size, input_size), mode='bilinear')
        logits = logits[..., : img_shape[0], : img_shape[1]]
        logits = F.interpolate(logits, ori_shape[:2], mode='bilinear')
        mask = (logits[0, 0] > 0).numpy().astype(np.uint8)
        encoded.append(coco_mask.encode(np.asfortranarray(mask)))
    return encoded


def _attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | float = 0.0) -> Tensor:
    logits = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5 + bias
    return logits.softmax(-1) @ value


class PlainLayerNorm2d(LayerNorm2d):
    """Layer norm by its formula."""

    def forward(self, x: Tensor) -> Tensor:
        centered = x - x.mean(1, keepdim=True)
        variance = centered.square().mean(1, keepdim=True)
        x = centered / torch.sqrt(variance + self.eps)
        return x * self.weight[:, None, None] + self.bias[:, None, None]


class PlainRelPosAttention(RelPosAttention):
    """Explicit attention with bias."""

    def forward(self, x: Tensor) -> Tensor:
        batch, height, width, channels = x.shape
        qkv = self.qkv(x).reshape(batch, height * width, 3, self.num_heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        along_h = torch.arange(height, device=x.device)
        along_w = torch.arange(width, device=x.device)
        rel_h = self.rel_pos_h[along_h[:, None] - along_h + height - 1]
        rel_w = self.rel_pos_w[along_w[:, None] - along_w + width - 1]
        grid = query.unflatten(2, (height, width))
        bias_h = torch.einsum('bnhwc,hkc->bnhwk', grid, rel_h.to(grid))
        bias_w = torch.einsum('bnhwc,wkc->bnhwk', grid, rel_w.to(grid))
        bias = (bias_h[..., :, None] + bias_w[..., None, :]).flatten(4).flatten(2, 3)
        x = _attend(query, key, value, bias)
        return self.proj(x.transpose(1, 2).reshape(batch, height, width, channels))


class PlainProjectedAttention(ProjectedAttention):
    """Projects every token."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (
            self._heads(project(x))
            for project, x in ((self.q_proj, q), (self.k_proj, k), (self.v_proj, v))
        )
        return self.out_proj(_attend(q, k, v).transpose(1, 2).flatten(2))


class PlainTwoWayBlock(TwoWayBlock):
    """Uses `forward` of attention only."""

    def forward(
        self, tokens: Tensor, image: Tensor, token_pe: Tensor, image_pe: Tensor
    ) -> tuple[Tensor, Tensor]:
        if self.first:
            tokens = self.self_attn(tokens, tokens, tokens)
        else:
            q = tokens + token_pe
            tokens = tokens + self.self_attn(q, q, tokens)
        tokens = self.norm1(tokens)
        read = self.cross_attn_token_to_image(tokens + token_pe, image + image_pe, image)
        tokens = self.norm2(tokens + read)
        tokens = self.norm3(tokens + self.mlp(tokens))
        read = self.cross_attn_image_to_token(image + image_pe, tokens + token_pe, tokens)
        return tokens, self.norm4(image + read)


class PlainTwoWayTransformer(TwoWayTransformer):
    """Repeats the image for each prompt first."""

    def forward(self, image: Tensor, image_pe: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        if len(image) != len(tokens):
            image = image.repeat_interleave(len(tokens), 0)
        image_pe = image_pe.repeat_interleave(len(tokens), 0)
        token_pe = tokens
        for layer in self.layers:
            tokens, image = layer(tokens, image, token_pe, image_pe)
        read = self.final_attn_token_to_image(tokens + token_pe, image + image_pe, image)
        return self.norm_final_attn(tokens + read), image


class PlainMaskDecoder(MaskDecoder):
    """Decodes all prompts at once, with explicit convolutions."""

    def _decode(
        self,
        image: Tensor,
        image_pe: Tensor,
        tokens: Tensor,
        size: tuple[int, int],
        first_mask: int,
    ) -> tuple[Tensor, Tensor]:
        tokens, image = self.transformer(image, image_pe, tokens)
        features = self.output_upscaling(image.transpose(1, 2).unflatten(2, size))
        logits = self._mask_weights(tokens, first_mask) @ features.flatten(2)
        return tokens, logits.unflatten(2, features.shape[-2:])


class PlainResNetTower(ResNetTower):
    """RoIAlign by mmcv, and attention pooling with all keys and values."""

    def embed_regions(
        self, visual: nn.Module, stage4: Tensor, bboxes: Tensor, mask_logits: Tensor
    ) -> Tensor:
        stage4 = at_least_float32(stage4)
        rois = torch.cat((bboxes.new_zeros(len(bboxes), 1), bboxes), dim=1).to(stage4)
        grid = (self.grid, self.grid)
        return visual.attnpool(roi_align(stage4, rois, grid, 1 / STRIDES[-1], 0, 'avg', True))


_PLAIN = {
    LayerNorm2d: PlainLayerNorm2d,
    RelPosAttention: PlainRelPosAttention,
    ProjectedAttention: PlainProjectedAttention,
    TwoWayBlock: PlainTwoWayBlock,
    TwoWayTransformer: PlainTwoWayTransformer,
    MaskDecoder: PlainMaskDecoder,
    ResNetTower: PlainResNetTower,
}
