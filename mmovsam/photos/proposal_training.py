"""Training of the proposal head, on the maps of a tower that stays as it is."""

from __future__ import annotations

from collections.abc import Collection

import torch
import torch.nn.functional as F
from mmdet.structures.bbox import bbox_overlaps
from torch import Tensor

from ..models.detectors import OVSAM
from .augmentation import MIN_VISIBLE, make_inputs, test_transforms
from .data import CANVAS, PhotoData
from .encoded import EncodedPhotos
from .trainer import PhotoTrainer, freeze_all_but

LIMITS = (0.0, 56.0, 144.0, float('inf'))
"""Longer sides in pixels of objects that are proposed on each level, from one to the next."""
RADIUS = 1.5
"""How far from an object's center it is proposed, in strides."""
MIN_SIDE = 4.0
"""Objects with a shorter side are left out."""


class ProposalTrainer(PhotoTrainer):
    """Trains the proposal head of a model whose other parts are frozen.

    A position near the center of an object learns its box, and as its score the IoU of the box that
    it gives; other positions learn a score of 0, but only in photographs of `complete` sets, whose
    objects are all annotated. Other arguments are those of `PhotoTrainer`.
    """

    def __init__(
        self,
        model: OVSAM,
        data: PhotoData,
        features: EncodedPhotos,
        complete: Collection[str] = ('coco_train',),
        **kwargs,
    ) -> None:
        freeze_all_but(model, 'proposal_head')
        super().__init__(model, data, **kwargs)
        self.features = features
        sources = data.photographs.sources
        self.complete = [source in set(complete) for source in sources]
        if not any(self.complete):
            raise ValueError(
                f'None of the photographs is of {", ".join(sorted(complete))}, whose objects are '
                'all annotated: without such a set it cannot be learned what is no object.'
            )
        self.image_weights = self.image_weights.repeat(len(features) // len(data))
        self.bboxes = _bboxes_of(data)

    def losses(self, host: torch.Generator, device: torch.Generator) -> dict[str, Tensor]:
        """The losses of scores and boxes."""
        head, data = self.model.proposal_head, self.data
        drawn = torch.multinomial(self.image_weights, self.batch_size, True, generator=host)
        levels = [self._maps(number, host) for number in drawn.tolist()]
        maps, flips = zip(*levels)
        logits, bboxes = head([torch.cat(level) for level in zip(*maps)])
        places, strides = head.places(logits.device)
        score_loss = box_loss = 0.0
        positives = 0
        for row, (number, flip) in enumerate(zip(drawn.tolist(), flips)):
            wanted = self._targets(number, flip).to(logits.device)
            chosen, inside = assign(places, strides, wanted)
            found = chosen >= 0
            scores = torch.zeros_like(logits[row])
            weights = torch.full_like(scores, float(self.complete[number % len(data)]))
            if found.any():
                pred, target = bboxes[row][found], wanted[chosen[found]]
                ious = bbox_overlaps(pred.detach(), target, is_aligned=True)
                scores[found], weights[found] = ious, 1.0
                loss = 1 - bbox_overlaps(pred, target, 'giou', is_aligned=True)
                box_loss = box_loss + (loss * ious.clamp(min=0.2)).sum()
                positives += int(found.sum())
            weights = torch.where(inside & ~found, 0.5 * weights, weights)
            # quality focal loss: what is far from its score counts most
            far = (scores - logits[row].sigmoid()).square().detach()
            entropy = F.binary_cross_entropy_with_logits(logits[row], scores, reduction='none')
            score_loss = score_loss + (weights * far * entropy).sum()
        positives = max(positives, 1)
        return dict(mask=4 * score_loss / positives + 2 * box_loss / positives)

    def _maps(self, number: int, host: torch.Generator) -> tuple[list[Tensor], bool]:
        """What the head reads of a view, and whether it is mirrored."""
        flip = bool(torch.rand((), generator=host) < 0.5)
        maps = self.features.maps(number)[-len(self.model.proposal_head.strides) :]
        return [each.flip(3) if flip else each for each in maps], flip

    def _targets(self, number: int, flip: bool) -> Tensor:
        """Boxes `(G, 4)` xyxy in pixels of the input of what is visible in a view."""
        scale, offset = self.features.transforms[number].split(2)
        corners = self.bboxes[number % len(self.data)].unflatten(1, (2, 2)) * scale + offset
        whole = torch.cat((corners.amin(1), corners.amax(1)), dim=1)
        seen = whole.clamp(0, CANVAS)
        sides = seen[:, 2:] - seen[:, :2]
        share = sides.prod(1) / (whole[:, 2:] - whole[:, :2]).prod(1).clamp(min=1e-6)
        seen = seen[(share >= MIN_VISIBLE) & (sides >= MIN_SIDE).all(1)]
        x1, y1, x2, y2 = seen.unbind(1)
        return torch.stack((CANVAS - x2, y1, CANVAS - x1, y2), 1) if flip else seen

    @torch.no_grad()
    def begin(self) -> None:
        """Measure what the head reads, so that it can be normalized, unless that was done."""
        if any(conv.is_measured for conv in self.model.proposal_head.inputs):
            return
        host = torch.Generator().manual_seed(self.seed)
        drawn = torch.multinomial(self.image_weights, 64, True, generator=host).tolist()
        views = [self._maps(number, host)[0] for number in drawn]
        for index, level in enumerate(map(torch.cat, zip(*views))):
            for model in (self.model, self.averaged):
                model.proposal_head.inputs[index].measure(level)

    def measure(self, val: PhotoData) -> dict[str, float]:
        """Recall of all objects at an IoU of 0.5, by the best 30, 50 and 100 boxes."""
        return evaluate_proposals(self.averaged, val, self.amp)


def assign(places: Tensor, strides: Tensor, bboxes: Tensor) -> tuple[Tensor, Tensor]:
    """Which of boxes `(G, 4)` xyxy each of the places `(L, 2)` of three levels is to propose.

    Returns:
        `(L,)` int64, the smallest object whose center is near, -1 for none; and `(L,)` bool,
        whether a position is inside of any.
    """
    if not len(bboxes):
        return torch.full_like(strides, -1).long(), torch.zeros_like(strides).bool()
    sides = bboxes[:, 2:] - bboxes[:, :2]
    from_center = (places[:, None] - (bboxes[:, :2] + bboxes[:, 2:]) / 2).abs()
    inside = (from_center < sides / 2).all(2)
    near = (from_center < RADIUS * strides[:, None, None]).all(2)
    near &= (from_center <= (sides / 2).clamp(min=4)).all(2)
    level = (strides / strides[0]).log2().round().long()
    limits = torch.tensor(LIMITS, device=places.device)
    longer = sides.amax(1)
    near &= (longer > limits[level][:, None]) & (longer <= limits[level + 1][:, None])
    areas = torch.where(near, sides.prod(1), torch.inf)
    least, chosen = areas.min(1)
    return torch.where(least.isfinite(), chosen, -1), inside.any(1)


@torch.no_grad()
def evaluate_proposals(model: OVSAM, val: PhotoData, amp: bool = False) -> dict[str, float]:
    """Share of the objects that one of the best boxes meets with an IoU of at least 0.5."""
    met = {30: [], 50: [], 100: []}
    transforms, boxes = test_transforms(val.sizes), _bboxes_of(val)
    for index in range(len(val)):
        if not len(boxes[index]):
            continue
        inputs = make_inputs(val, torch.tensor([index]), transforms[index][None])
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=amp):
            features = model.extract_feat(inputs)
        scale = transforms[index, 0]
        shape = (val.sizes[index] * scale).round().long().tolist()
        found, _ = model.propose_bboxes(features, shape, max(met))
        wanted = boxes[index].to(found) * scale
        for count, rows in met.items():
            rows.append((bbox_overlaps(found[:count], wanted) >= 0.5).any(0))
    return {f'recall_{count}': torch.cat(rows).float().mean().item() for count, rows in met.items()}


def _bboxes_of(data: PhotoData) -> list[Tensor]:
    """Boxes `(G, 4)` xyxy of the objects of each photograph, in pixels of the canvas."""
    objects, found = data.photographs.objects, []
    for index, members in enumerate(data.objects_of):
        boxes = [objects[each]['bbox'] for each in members if data.has_mask[each]]
        xy, sides = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4).split(2, dim=1)
        scale = data.sizes[index].max() / max(data.photographs.sizes[index])
        found.append(torch.cat((xy, xy + sides), dim=1) * scale)
    return found
