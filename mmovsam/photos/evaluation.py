"""Mean IoU on annotated objects, during training."""

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
    """Mean IoU of masks at the size of the photographs; `PhotoReport` measures more.

    The model is in eval mode, on the device of the data; `autocast` is to bfloat16.

    Returns:
        `box`; `jitter`, boxes with each side off by 10% in or out, by the seed; `point`, the first
        mask of a click at the deepest point; and the number of `objects`.
    """
    generator = torch.Generator(data.device).manual_seed(seed)
    ious = dict(box=[], jitter=[], point=[])
    for index in range(len(data)):
        batch = make_batch(data, torch.tensor([index]), torch.Generator(), 1000, augment=False)
        boxes = batch.bboxes
        if not len(boxes):
            continue
        height, width = data.sizes[index].tolist()
        truth = data.masks_of(batch.objects)[:, 0, :height, :width].bool()
        noise = torch.rand(boxes.shape, generator=generator, device=boxes.device)
        extent = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
        jittered = boxes + torch.where(noise < 0.5, -0.1, 0.1) * extent
        points = torch.tensor([deepest_point(mask) for mask in truth.cpu().numpy()])
        scale = CANVAS / max(height, width)
        img_shape = round(height * scale), round(width * scale)
        points = (points[:, None] + 0.5) * scale - 0.5
        prompts = dict(
            box=Prompts(bboxes=boxes),
            jitter=Prompts(bboxes=jittered),
            point=Prompts(point_coords=points, point_labels=torch.ones(len(points), 1)),
        )
        with torch.autocast(data.device.type, torch.bfloat16, enabled=autocast):
            features = model.extract_feat(batch.inputs)
            for name, prompt in prompts.items():
                logits = model.recognize(features, prompt).low_res_logits
                masks = torch.cat([*enlarge_logits(logits, CANVAS, img_shape, truth.shape[1:])])
                ious[name].append(mask_ious(masks[:, None], truth)[:, 0].cpu())
    result = {name: torch.cat(values).mean().item() for name, values in ious.items()}
    return dict(result, objects=sum(map(len, ious['box'])))
