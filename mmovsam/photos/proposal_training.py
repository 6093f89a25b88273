"""Training of the proposal head, on the maps of a frozen tower."""

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
"""Bounds of the longer sides in pixels of the objects of each level."""
RADIUS = 1.5
"""Largest distance of a position to the center of its object, in strides."""
MIN_SIDE = 4.0
"""Objects with a shorter side are left out."""


class ProposalTrainer(PhotoTrainer):
    """Trains the proposal head of a model whose other parts are frozen.

    A position near the center of an object learns its box, and the IoU of its prediction as its
    score; other positions learn a score of 0, but only in photographs of `complete` sets, whose
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
        numbers = torch.multinomial(
            self.image_weights, self.batch_size, True, generator=host
        ).tolist()
        maps, flips = zip(*(self._maps(number, host) for number in numbers))
        logits, bboxes = head([torch.cat(level) for level in zip(*maps)])
        positions, strides = head.places(logits.device)
        score_loss = box_loss = 0.0
        num_positives = 0
        for row, (number, flip) in enumerate(zip(numbers, flips)):
            targets = self._targets(number, flip).to(logits.device)
            assigned, inside = assign(positions, strides, targets)
            positive = assigned >= 0
            scores = torch.zeros_like(logits[row])
            weights = torch.full_like(scores, float(self.complete[number % len(data)]))
            if positive.any():
                pred, target = bboxes[row][positive], targets[assigned[positive]]
                ious = bbox_overlaps(pred.detach(), target, is_aligned=True)
                scores[positive], weights[positive] = ious, 1.0
                loss = 1 - bbox_overlaps(pred, target, 'giou', is_aligned=True)
                box_loss = box_loss + (loss * ious.clamp(min=0.2)).sum()
                num_positives += int(positive.sum())
            weights = torch.where(inside & ~positive, 0.5 * weights, weights)
            # quality focal loss
            modulator = (scores - logits[row].sigmoid()).square().detach()
            entropy = F.binary_cross_entropy_with_logits(logits[row], scores, reduction='none')
            score_loss = score_loss + (weights * modulator * entropy).sum()
        num_positives = max(num_positives, 1)
        return dict(mask=4 * score_loss / num_positives + 2 * box_loss / num_positives)

    def _maps(self, number: int, host: torch.Generator) -> tuple[list[Tensor], bool]:
        """Maps of a view for the head, mirrored half of the time, and whether they are."""
        flip = bool(torch.rand((), generator=host) < 0.5)
        maps = self.features.maps(number)[-len(self.model.proposal_head.strides) :]
        return [level.flip(3) if flip else level for level in maps], flip

    def _targets(self, number: int, flip: bool) -> Tensor:
        """Boxes `(G, 4)` xyxy of the visible objects of a view, in pixels of the input."""
        scale, offset = self.features.transforms[number].split(2)
        corners = self.bboxes[number % len(self.data)].unflatten(1, (2, 2)) * scale + offset
        full = torch.cat((corners.amin(1), corners.amax(1)), dim=1)
        visible = full.clamp(0, CANVAS)
        sides = visible[:, 2:] - visible[:, :2]
        share = sides.prod(1) / (full[:, 2:] - full[:, :2]).prod(1).clamp(min=1e-6)
        visible = visible[(share >= MIN_VISIBLE) & (sides >= MIN_SIDE).all(1)]
        x1, y1, x2, y2 = visible.unbind(1)
        return torch.stack((CANVAS - x2, y1, CANVAS - x1, y2), 1) if flip else visible

    @torch.no_grad()
    def begin(self) -> None:
        """Measure the head's inputs for their normalization, unless that was done."""
        if any(conv.is_measured for conv in self.model.proposal_head.inputs):
            return
        host = torch.Generator().manual_seed(self.seed)
        numbers = torch.multinomial(self.image_weights, 64, True, generator=host).tolist()
        views = [self._maps(number, host)[0] for number in numbers]
        for index, level in enumerate(map(torch.cat, zip(*views))):
            for model in (self.model, self.averaged):
                model.proposal_head.inputs[index].measure(level)

    def measure(self, val: PhotoData) -> dict[str, float]:
        """Recall of all objects at an IoU of 0.5, by the best 30, 50 and 100 boxes."""
        return evaluate_proposals(self.averaged, val, self.amp)


def assign(positions: Tensor, strides: Tensor, bboxes: Tensor) -> tuple[Tensor, Tensor]:
    """Assign boxes `(G, 4)` xyxy to positions `(L, 2)` of three levels.

    Returns:
        `(L,)` int64, the index of the smallest object whose center is near, -1 for none; and
        `(L,)` bool, whether the position is inside of any box.
    """
    if not len(bboxes):
        return torch.full_like(strides, -1).long(), torch.zeros_like(strides).bool()
    sides = bboxes[:, 2:] - bboxes[:, :2]
    from_center = (positions[:, None] - (bboxes[:, :2] + bboxes[:, 2:]) / 2).abs()
    inside = (from_center < sides / 2).all(2)
    near = (from_center < RADIUS * strides[:, None, None]).all(2)
    near &= (from_center <= (sides / 2).clamp(min=4)).all(2)
    level = (strides / strides[0]).log2().round().long()
    limits = torch.tensor(LIMITS, device=positions.device)
    longer_sides = sides.amax(1)
    near &= longer_sides > limits[level][:, None]
    near &= longer_sides <= limits[level + 1][:, None]
    areas = torch.where(near, sides.prod(1), torch.inf)
    area, assigned = areas.min(1)
    return torch.where(area.isfinite(), assigned, -1), inside.any(1)


@torch.no_grad()
def evaluate_proposals(model: OVSAM, val: PhotoData, amp: bool = False) -> dict[str, float]:
    """Recall of objects at an IoU of 0.5 by the best 30, 50 and 100 boxes."""
    hits = {30: [], 50: [], 100: []}
    transforms, boxes = test_transforms(val.sizes), _bboxes_of(val)
    for index in range(len(val)):
        if not len(boxes[index]):
            continue
        inputs = make_inputs(val, torch.tensor([index]), transforms[index][None])
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=amp):
            features = model.extract_feat(inputs)
        scale = transforms[index, 0]
        shape = (val.sizes[index] * scale).round().long().tolist()
        proposals, _ = model.propose_bboxes(features, shape, max(hits))
        ious = bbox_overlaps(proposals, boxes[index].to(proposals) * scale)
        for count, rows in hits.items():
            rows.append((ious[:count] >= 0.5).any(0))
    return {
        f'recall_{count}': torch.cat(rows).float().mean().item() for count, rows in hits.items()
    }


def _bboxes_of(data: PhotoData) -> list[Tensor]:
    """Boxes `(G, 4)` xyxy of the objects of each photograph, in pixels of the canvas."""
    objects, result = data.photographs.objects, []
    for index, members in enumerate(data.objects_of):
        boxes = [objects[row]['bbox'] for row in members if data.has_mask[row]]
        xy, sides = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4).split(2, dim=1)
        scale = data.sizes[index].max() / max(data.photographs.sizes[index])
        result.append(torch.cat((xy, xy + sides), dim=1) * scale)
    return result
