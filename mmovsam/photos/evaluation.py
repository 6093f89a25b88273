"""How well a model cuts out annotated objects, while it trains."""

from __future__ import annotations

import torch

from ..models.detectors import OVSAM
from ..models.detectors.instances import enlarge_logits
from ..prompts import Prompts
from ..prompts.gt_prompter import deepest_point
from .augmentation import make_batch
from .data import CANVAS, PhotoData
from .losses import mask_ious


@torch.no_grad()
def evaluate_masks(
    model: OVSAM, data: PhotoData, seed: int = 0, autocast: bool = False
) -> dict[str, float]:
    """Mean IoU at the size of the photographs; `PhotoReport` measures more.

    The model is in eval mode, on the device of the data; `autocast` is to bfloat16.

    Returns:
        `box`; `jitter`, boxes with each side off by 10%, in directions by the seed; `point`, the
        deepest of each object, and the first mask; and how many `objects` there are.
    """
    generator = torch.Generator(data.device).manual_seed(seed)
    ious = dict(box=[], jitter=[], point=[])
    for index in range(len(data)):
        one = torch.tensor([index])
        batch = make_batch(data, one, torch.Generator(), 1000, augment=False)
        boxes = batch.bboxes
        if not len(boxes):
            continue
        height, width = data.sizes[index].tolist()
        truth = data.masks_of(batch.objects)[:, 0, :height, :width].bool()
        drawn = torch.rand(boxes.shape, generator=generator, device=boxes.device)
        extent = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
        off = boxes + torch.where(drawn < 0.5, -0.1, 0.1) * extent
        points = torch.tensor([deepest_point(mask) for mask in truth.cpu().numpy()])
        scale = CANVAS / max(height, width)
        img_shape = round(height * scale), round(width * scale)
        points = (points[:, None] + 0.5) * scale - 0.5
        prompts = dict(
            box=Prompts(bboxes=boxes),
            jitter=Prompts(bboxes=off),
            point=Prompts(point_coords=points, point_labels=torch.ones(len(points), 1)),
        )
        with torch.autocast(data.device.type, torch.bfloat16, enabled=autocast):
            features = model.extract_feat(batch.inputs)
            for name, given in prompts.items():
                logits = model.recognize(features, given).low_res_logits
                whole = torch.cat([*enlarge_logits(logits, CANVAS, img_shape, truth.shape[1:])])
                ious[name].append(mask_ious(whole[:, None], truth)[:, 0].cpu())
    result = {name: torch.cat(values).mean().item() for name, values in ious.items()}
    return dict(result, objects=sum(map(len, ious['box'])))
