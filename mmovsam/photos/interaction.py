"""Simulated prompts: boxes and points first, then clicks where the mask is wrong."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..layers.mask_decoder import DecodedMasks
from ..models.detectors import OVSAM
from ..models.detectors.features import ImageFeatures

BOX_SHARE = 0.55
DEPTH_STEPS = 20


def depth_of(masks: Tensor, steps: int = DEPTH_STEPS) -> Tensor:
    """Distance of each position to the edge of masks `(N, H, W)` bool; 0 outside, up to `steps`."""
    eroded = F.pad(masks.float()[:, None], (1, 1, 1, 1))
    depth = eroded.clone()
    for step in range(steps - 1):
        # squares and diamonds in turn are nearly round
        if step % 2:
            eroded = -F.max_pool2d(-eroded, 3, stride=1, padding=1)
        else:
            across = -F.max_pool2d(-eroded, (1, 3), stride=1, padding=(0, 1))
            down = -F.max_pool2d(-eroded, (3, 1), stride=1, padding=(1, 0))
            eroded = torch.minimum(across, down)
        depth = depth + eroded
    return depth[:, 0, 1:-1, 1:-1]


def draw_positions(weights: Tensor, generator: torch.Generator | None) -> Tensor:
    """A position `(N, 2)` int64 xy of each map, drawn with its weights `(N, H, W)`, at least 0.

    A map of zeros gives any position. Here and below, generators are on the device of the maps.
    """
    noise = torch.rand(weights.shape, generator=generator, device=weights.device)
    # the largest u^(1/w) is at a position with probability w / sum(w)
    keys = noise.clamp(min=1e-7).log() / weights.clamp(min=1e-9)
    index = keys.flatten(1).argmax(1)
    return torch.stack((index % weights.shape[2], index // weights.shape[2]), dim=1)


def draw_inside(depth: Tensor, generator: torch.Generator | None) -> Tensor:
    """A position `(N, 2)` int64 xy inside of each mask, given its depth; half of the time deep."""
    deep = torch.rand(len(depth), 1, 1, generator=generator, device=depth.device) < 0.5
    return draw_positions(torch.where(deep, depth**3, (depth > 0).float()), generator)


def draw_corrections(
    masks: Tensor, targets: Tensor, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """A click where each mask `(N, H, W)` bool is wrong, or anywhere inside of one that is right.

    Returns:
        Points `(N, 2)` int64 xy and labels `(N,)` bool, whether they are positive.
    """
    depths = torch.stack((depth_of(targets & ~masks), depth_of(masks & ~targets)))
    # the deeper kind of error, which a person would see first
    positive = depths[0].amax((1, 2)) >= depths[1].amax((1, 2))
    depth = torch.where(positive[:, None, None], *depths)
    wrong = depth.flatten(1).amax(1) > 0
    depth = torch.where(wrong[:, None, None], depth, targets.float())
    return draw_inside(depth, generator), positive | ~wrong


class Interaction:
    """The prompts of N objects of B photographs, which grow by one click at a time.

    Each object begins with a box, where `with_box` `(N,)`, or with a point; both are two tokens, so
    that all objects are decoded together. `masks` `(N, h, w)` float are the ground truth at the
    size of the decoder's logits; `bboxes` `(N, 4)` are xyxy in pixels of the input.
    """

    def __init__(
        self,
        model: OVSAM,
        features: ImageFeatures,
        image_index: Tensor,
        masks: Tensor,
        bboxes: Tensor,
        with_box: Tensor,
        generator: torch.Generator | None = None,
    ) -> None:
        self.model = model
        self.image_index = image_index
        self.embedding = features.embedding.index_select(0, image_index)
        self.high_res_maps = tuple(
            level.index_select(0, image_index) for level in features.high_res_maps
        )
        self.inside = masks > 0.5
        self.bboxes = torch.where(with_box[:, None], bboxes, torch.nan)
        self.bboxes = self.bboxes * (features.embedding.shape[-1] / model.input_size)
        self.generator = generator
        self.stride = model.input_size / masks.shape[-1]
        encoder = model.prompt_encoder
        self.image_pe = encoder.dense_pe()
        first = self._input_points(draw_inside(depth_of(self.inside), generator))
        positive = torch.ones(len(first), 1, device=first.device)
        points = encoder._embed_points(first[:, None] + 0.5, positive)
        padding = encoder._embed_points(torch.zeros_like(first)[:, None], -positive)
        corners = encoder.pe_layer((bboxes.unflatten(1, (2, 2)) + 0.5) / encoder.image_size)
        corners = corners + torch.cat([encoder.point_embeddings[i].weight for i in (2, 3)])
        with_box = with_box[:, None, None]
        self.tokens = [
            torch.where(with_box, corners[:, :1], points),
            torch.where(with_box, corners[:, 1:], padding),
        ]

    def _input_points(self, positions: Tensor) -> Tensor:
        """Positions on the masks as points in pixels of the input."""
        return (positions + 0.5) * self.stride - 0.5

    def click(self, logits: Tensor) -> None:
        """Add a point where the present masks, logits `(N, h, w)`, are wrong."""
        positions, labels = draw_corrections(logits > 0, self.inside, self.generator)
        points = self._input_points(positions)[:, None]
        token = self.model.prompt_encoder._embed_points(points + 0.5, labels.float()[:, None])
        self.tokens.insert(1, token)

    def decode(
        self, mask_input: Tensor | None = None, without_tokens: bool = False
    ) -> DecodedMasks:
        """Decode the present prompts, with logits `(N, 1, h, w)` of earlier masks.

        With `without_tokens` these logits are the only prompt.
        """
        encoder = self.model.prompt_encoder
        sparse = torch.cat(self.tokens, dim=1)
        bboxes = self.bboxes
        if without_tokens:
            sparse, bboxes = sparse[:, :0], None
        if mask_input is None:
            side = encoder.embedding_side
            dense = encoder.no_mask_embed.weight[:, :, None, None].expand(-1, -1, side, side)
        else:
            dense = encoder.embed_masks(mask_input)
        return self.model.head.decode(
            self.embedding, self.image_pe, sparse, dense, self.high_res_maps, bboxes, mask_input
        )


def jittered(bboxes: Tensor, spread: float, generator: torch.Generator | None = None) -> Tensor:
    """Boxes `(N, 4)` xyxy with each side moved by up to `spread` times the box's extent."""
    extent = (bboxes[:, 2:] - bboxes[:, :2]).repeat(1, 2)
    noise = torch.rand(bboxes.shape, generator=generator, device=bboxes.device) * 2 - 1
    return bboxes + noise * extent * spread
