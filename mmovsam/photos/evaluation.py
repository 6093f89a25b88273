"""How well a model cuts out annotated objects, while it trains."""

from __future__ import annotations

from collections import defaultdict

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models.detectors import OVSAM
from .augmentation import make_batch
from .data import CANVAS, PhotoData
from .interaction import Interaction

SMALL, MEDIUM = 32**2, 96**2
"""Areas in pixels below which COCO calls an object small, and medium."""


@torch.no_grad()
def evaluate_masks(
    model: OVSAM,
    data: PhotoData,
    batch_size: int = 8,
    seed: int = 0,
    clicks: int = 5,
    autocast: bool = False,
) -> dict[str, float]:
    """Mean IoU at the size of the photographs.

    Args:
        model: In eval mode, on the device of the data.
        data: Photographs with masks.
        batch_size: Photographs at once.
        seed: Of the boxes that are a tenth off.
        clicks: How many are simulated, from the center on.
        autocast: Whether to use bfloat16.

    Returns:
        `box`, and of small, medium and large objects `box_small`, ...; `jitter`, boxes with each
        side off by 10%; `point` and `point_best`, the mask of the best predicted IoU and the best
        of three; `clicks_1`, `clicks_3`, `clicks_5`.
    """
    generator = torch.Generator().manual_seed(seed)
    on_device = torch.Generator(data.device).manual_seed(seed)
    ious = defaultdict(list)
    for start in range(0, len(data), batch_size):
        indices = torch.arange(start, min(start + batch_size, len(data)))
        batch = make_batch(data, indices, generator, max_objects=1000, augment=False)
        if not len(batch.objects):
            continue
        with torch.autocast(data.device.type, torch.bfloat16, enabled=autocast):
            features = model.extract_feat(batch.inputs)
        sizes = data.sizes[indices]
        for place in range(len(indices)):
            rows = (batch.image_index == place).nonzero()[:, 0]
            for part in rows.split(64):
                with torch.autocast(data.device.type, torch.bfloat16, enabled=autocast):
                    _one_image(model, features, batch, part, sizes[place], data, on_device, clicks,
                               ious)  # fmt: skip
    areas = torch.cat(ious.pop('area'))
    result = {name: torch.cat(values).mean().item() for name, values in ious.items()}
    box = torch.cat(ious['box'])
    groups = dict(
        small=areas < SMALL, medium=(areas >= SMALL) & (areas < MEDIUM), large=areas >= MEDIUM
    )
    for name, chosen in groups.items():
        if chosen.any():
            result[f'box_{name}'] = box[chosen].mean().item()
    result['objects'] = len(box)
    return result


def _one_image(model, features, batch, rows, size, data, generator, clicks, ious) -> None:
    image_index, masks = batch.image_index[rows], batch.masks[rows]
    truth = data.masks_of(batch.objects[rows.cpu()])[:, 0, : size[0], : size[1]].bool()
    ious['area'].append(truth.sum((1, 2)).float().cpu())
    boxes = batch.bboxes[rows]
    yes, no = (torch.full((len(rows),), flag, device=boxes.device) for flag in (True, False))

    def begin(bboxes: Tensor, with_box: Tensor) -> Interaction:
        return Interaction(
            model, features, image_index, masks, bboxes, with_box, generator, deepest=True
        )

    def score(logits: Tensor) -> Tensor:
        return full_size_ious(logits, truth, size)

    ious['box'].append(score(begin(boxes, yes).decode().low_res_logits[:, :1])[:, 0].cpu())
    off = boxes + _signs(boxes, generator) * 0.1 * (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    ious['jitter'].append(score(begin(off, yes).decode().low_res_logits[:, :1])[:, 0].cpu())
    session = begin(boxes, no)
    decoded = session.decode()
    several = score(decoded.low_res_logits[:, 1:])
    chosen = decoded.iou_predictions[:, 1:].argmax(1, keepdim=True)
    ious['point'].append(several.gather(1, chosen)[:, 0].cpu())
    ious['point_best'].append(several.amax(1).cpu())
    rank = torch.arange(len(rows), device=boxes.device)
    logits = decoded.low_res_logits[rank, 1 + chosen[:, 0]]
    ious['clicks_1'].append(ious['point'][-1])
    for number in range(2, clicks + 1):
        session.click(logits)
        logits = session.decode(logits[:, None]).low_res_logits[:, 0]
        if number in (3, 5):
            ious[f'clicks_{number}'].append(score(logits[:, None])[:, 0].cpu())


def _signs(boxes: Tensor, generator: torch.Generator) -> Tensor:
    drawn = torch.rand(boxes.shape, generator=generator, device=boxes.device)
    return torch.where(drawn < 0.5, -1.0, 1.0)


def full_size_ious(logits: Tensor, truth: Tensor, size: Tensor) -> Tensor:
    """IoU `(N, M)` of logits `(N, M, h, w)` over the input with masks `(N, H, W)` bool."""
    height, width = size.tolist()
    scale = CANVAS / max(height, width)
    logits = F.interpolate(logits.float(), (CANVAS, CANVAS), mode='bilinear', align_corners=False)
    logits = logits[..., : round(height * scale), : round(width * scale)]
    logits = F.interpolate(logits, (height, width), mode='bilinear', align_corners=False)
    found, truth = logits > 0, truth[:, None]
    union = (found | truth).sum((2, 3))
    return (found & truth).sum((2, 3)) / union.clamp(min=1)
