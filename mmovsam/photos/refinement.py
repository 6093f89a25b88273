"""Training of the window refiner, on features that stay as they are."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models.detectors import OVSAM
from ..models.detectors.instances import masks_to_bboxes
from ..models.detectors.ovsam import ImageFeatures
from ..models.heads.window_refiner import (
    GRIDS,
    WindowPrompts,
    paste_windows,
    read_windows_of_each,
    window_grid,
    windows_of,
)
from .augmentation import Batch, make_batch
from .data import PhotoData
from .evaluation import full_size_ious
from .interaction import depth_of, draw_inside, jittered
from .losses import dice_losses
from .trainer import PhotoTrainer

GIVEN_SHARE = 0.65
SECOND_SHARE = 0.4


class RefinementTrainer(PhotoTrainer):
    """Trains the refiner of a model whose other parts are frozen.

    In a share of the updates a second round begins with the mask of the first one and a click where
    it is wrong. Boxes are given, exact or off, or guesses with a click inside of the object.
    """

    def __init__(self, model, data, **kwargs) -> None:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.startswith('refiner.'))
        super().__init__(model, data, **kwargs)
        self.target_stride = 1
        self.measure = evaluate_refiner

    def losses(
        self, batch: Batch, host: torch.Generator, device: torch.Generator
    ) -> dict[str, Tensor]:
        """The loss of the masks of one round of prompts, or of two."""
        model = self.model
        model.eval()
        again = torch.rand((), generator=host).item() < SECOND_SHARE
        with torch.autocast(self.data.device.type, torch.bfloat16, enabled=self.amp):
            with torch.no_grad():
                features = model.extract_window_feat(batch.inputs)
            rows = batch.has_mask.nonzero()[:, 0]
            if not len(rows):
                nothing = sum(parameter.sum() for parameter in self.params) * 0
                return dict(mask=nothing, _iou=nothing.detach())
            masks, bboxes = batch.masks[rows], batch.bboxes[rows]
            losses, ious = self._rounds(
                features, batch.image_index[rows], masks, bboxes, again, device
            )
        return dict(mask=losses.mean(), _iou=ious.mean())

    def _rounds(
        self,
        features: ImageFeatures,
        image_index: Tensor,
        masks: Tensor,
        bboxes: Tensor,
        again: bool,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        count, dev = len(masks), masks.device

        def uniform(*shape: int) -> Tensor:
            return torch.rand(shape, generator=generator, device=dev)

        given = uniform(count) < GIVEN_SHARE
        spread = torch.where(uniform(count, 1) < 0.5, 0.015, 0.13)
        spread = torch.where(given[:, None], spread, 0.25)
        boxes = jittered(bboxes, spread, generator)
        points, labels = first_points(masks, ~given, generator)
        size = self.model.input_size // 2
        previous = masks.new_zeros(count, 1, size, size)
        prompts = WindowPrompts(boxes, given, points, labels, previous)
        logits, quality, windows = self._refine(features, image_index, prompts)
        losses, ious = window_losses(logits, quality, windows, masks)
        if again:
            with torch.no_grad():
                pasted = paste_windows(logits, windows, size, self.model.input_size)
                found = masks_to_bboxes(pasted[:, 0] > 0).float() * 2
                follow = ~given & (found[:, 2:] > found[:, :2]).all(1) & (uniform(count) < 0.5)
                boxes = torch.where(follow[:, None], found, boxes)
                point, label = next_points(logits, windows, masks, generator)
                points = torch.cat((points, point), dim=1)
                labels = torch.cat((labels, label), dim=1)
            prompts = WindowPrompts(boxes, given, points, labels, pasted)
            logits, quality, windows = self._refine(features, image_index, prompts)
            second, ious = window_losses(logits, quality, windows, masks)
            losses = (losses + second) / 2
        return losses, ious

    def _refine(
        self, features: ImageFeatures, image_index: Tensor, prompts: WindowPrompts
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As `OVSAM.refine`, of objects in several images, those of one after another's."""
        refiner, windows, read = self.model.refiner, windows_of(prompts.bboxes), []
        for place in image_index.unique_consecutive().tolist():
            rows = image_index == place
            own = features.image(place)
            parts = WindowPrompts(*(part[rows] for part in prompts))
            read.append(
                refiner.read(
                    own.stage4,
                    own.region_maps,
                    own.high_res_maps,
                    parts,
                    windows[rows],
                    self.model.input_size,
                )
            )
        return (*refiner.decide([torch.cat(grids) for grids in zip(*read)]), windows)


def first_points(
    masks: Tensor, wanted: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """A point inside of each mask, drawn, half of the time from deep inside.

    Args:
        masks: `(N, S, S)` at the size of the input.
        wanted: `(N,)` bool; the others get padding.
        generator: On the device.

    Returns:
        Points `(N, 1, 2)` and labels `(N, 1)`.
    """
    depth = depth_of(F.avg_pool2d(masks[:, None], 4)[:, 0] > 0.4)
    points = draw_inside(depth, generator)
    labels = torch.where(wanted, 1, -1)[:, None]
    return ((points + 0.5) * 4 - 0.5)[:, None], labels


@torch.no_grad()
def targets_of(masks: Tensor, windows: Tensor) -> Tensor:
    """Masks `(N, S, S)` in windows, `(N, 1, 64, 64)`: the share of each position inside."""
    places = window_grid(windows, 2 * GRIDS[-1])
    sampled = read_windows_of_each(masks[:, None].float(), places, masks.shape[-1])
    return F.avg_pool2d(sampled, 2)


def window_losses(
    logits: Tensor, quality: Tensor, windows: Tensor, masks: Tensor
) -> tuple[Tensor, Tensor]:
    """Cross entropy and Dice of masks in their windows, and what the refiner thinks of them.

    Returns:
        Losses `(N,)` and IoUs `(N,)`.
    """
    targets = targets_of(masks, windows)
    logits = logits.float()
    entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction='none').mean((1, 2, 3))
    dice = dice_losses(logits, targets)[:, 0]
    with torch.no_grad():
        found, wanted = logits > 0, targets > 0.5
        union = (found | wanted).sum((1, 2, 3)).float()
        # what lies outside of the window is missed
        area = (windows[:, 2:] - windows[:, :2]).prod(1) / logits.shape[-1] ** 2
        outside = (masks.sum((1, 2)) / area - targets.sum((1, 2, 3))).clamp(min=0)
        ious = (found & wanted).sum((1, 2, 3)) / (union + outside).clamp(min=1)
    return 2 * entropy + dice + F.mse_loss(quality.float(), ious, reduction='none'), ious


def next_points(
    logits: Tensor, windows: Tensor, masks: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """A click where each mask is wrong.

    Returns:
        Points `(N, 1, 2)` in pixels of the input and labels `(N, 1)`.
    """
    wanted, found = targets_of(masks, windows)[:, 0] > 0.5, logits[:, 0] > 0
    missing, extra = wanted & ~found, ~wanted & found
    depths = torch.stack((depth_of(missing), depth_of(extra)))
    add = depths[0].amax((1, 2)) >= depths[1].amax((1, 2))
    depth = torch.where(add[:, None, None], *depths)
    wrong = depth.flatten(1).amax(1) > 0
    depth = torch.where(wrong[:, None, None], depth, wanted.float())
    points = draw_inside(depth, generator)
    origin, extent = windows[:, :2], windows[:, 2:] - windows[:, :2]
    points = origin + (points + 0.5) / logits.shape[-1] * extent - 0.5
    return points[:, None], torch.where(add | ~wrong, 1, 0)[:, None]


@torch.no_grad()
def evaluate_refiner(
    model: OVSAM, data: PhotoData, seed: int = 0, autocast: bool = False
) -> dict[str, float]:
    """Mean IoU with annotated boxes, and with boxes whose sides are off by 10%.

    Args:
        model: In eval mode, on the device of the data.
        data: Photographs with masks.
        seed: Of the sides' directions.
        autocast: Whether to use bfloat16.
    """
    generator = torch.Generator(data.device).manual_seed(seed)
    ious = dict(box=[], jitter=[])
    for indices in torch.arange(len(data)).split(4):
        batch = make_batch(data, indices, torch.Generator(), 1000, augment=False, target_stride=1)
        with torch.autocast(data.device.type, torch.bfloat16, enabled=autocast):
            features = model.extract_window_feat(batch.inputs)
        for place, index in enumerate(indices.tolist()):
            rows = (batch.image_index == place).nonzero()[:, 0]
            if not len(rows):
                continue
            height, width = data.sizes[index].tolist()
            truth = data.masks_of(batch.objects[rows.cpu()])[:, 0, :height, :width].bool()
            boxes, count = batch.bboxes[rows], len(rows)
            extent = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
            drawn = torch.rand(boxes.shape, generator=generator, device=boxes.device)
            off = boxes + torch.where(drawn < 0.5, -0.1, 0.1) * extent
            none = boxes.new_zeros(count, 1, 2), boxes.new_full((count, 1), -1)
            size = model.input_size // 2
            for name, given in dict(box=boxes, jitter=off).items():
                prompts = WindowPrompts(
                    given,
                    torch.ones(count, dtype=torch.bool, device=boxes.device),
                    *none,
                    boxes.new_zeros(count, 1, size, size),
                )
                with torch.autocast(data.device.type, torch.bfloat16, enabled=autocast):
                    logits, _, windows = model.refine(features.image(place), prompts)
                pasted = paste_windows(logits, windows, size, model.input_size)
                ious[name].append(full_size_ious(pasted, truth, data.sizes[index])[:, 0].cpu())
    return {name: torch.cat(values).mean().item() for name, values in ious.items()}
