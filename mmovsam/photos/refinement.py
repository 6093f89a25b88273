"""Training of the window refiner, on features that stay as they are."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models.detectors import OVSAM
from ..models.detectors.instances import bboxes_of_logits
from ..models.detectors.ovsam import ImageFeatures
from ..models.heads.window_refiner import (
    GRIDS,
    WindowPrompts,
    around,
    paste_windows,
    read_windows_of_each,
    window_grid,
    windows_of,
)
from .augmentation import make_batch
from .data import PhotoData
from .evaluation import full_size_ious
from .interaction import Interaction, depth_of, draw_inside, jittered
from .losses import dice_losses
from .trainer import PhotoTrainer

BOX_SHARE = 0.65
"""Of objects whose box is given; of the others a point is."""
DECODED_SHARE = 0.5
"""Of objects whose first mask is the decoder's."""
SECOND_SHARE = 0.3
"""Of updates with a click on what the first mask has wrong."""
VIEWS_AT_ONCE = 4
PREVIOUS_SIZE = 128


@dataclass
class View:
    """An augmented photograph, encoded, and one prompt of each of its N objects, decoded.

    Attributes:
        features: Of the photograph.
        masks: `(N, S, S)` uint8, as large as the input, 255 inside.
        bboxes: `(N, 4)` of the masks, xyxy in pixels of the input.
        prompts: What the decoder was given, with boxes of its masks where it was given a point.
    """

    features: ImageFeatures
    masks: Tensor
    bboxes: Tensor
    prompts: WindowPrompts


class RefinementTrainer(PhotoTrainer):
    """Trains the refiner of a model whose other parts are frozen.

    Encoding takes longer than refining, so encoded photographs are kept for a while and drawn again
    with other prompts. In a share of the updates a second round begins with the mask of the first
    one and a click where it is wrong.

    Args:
        model: On the device of the data.
        data: To learn from.
        views: How many encoded photographs are kept, of 7 MB each.
        reuse: How often each of them is drawn, on average.
        kwargs: See `PhotoTrainer`.
    """

    def __init__(
        self, model: OVSAM, data: PhotoData, views: int = 512, reuse: int = 8, **kwargs
    ) -> None:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.startswith('refiner.'))
        super().__init__(model, data, **kwargs)
        self.measure = evaluate_refiner
        self.period = max(1, VIEWS_AT_ONCE * reuse // self.batch_size)
        self.views: deque[View] = deque(maxlen=views)
        self.groups_encoded = 0

    def losses(self, host: torch.Generator, device: torch.Generator) -> dict[str, Tensor]:
        """The loss of the masks of one round of prompts, or of two."""
        self.model.eval()
        self._encode()
        places = torch.randint(len(self.views), (self.batch_size,), generator=host).unique()
        views = [self.views[place] for place in places.tolist() if len(self.views[place].masks)]
        again = torch.rand((), generator=host).item() < SECOND_SHARE
        if not views:
            nothing = sum(parameter.sum() for parameter in self.params) * 0
            return dict(mask=nothing, _iou=nothing.detach())
        with torch.autocast(self.data.device.type, torch.bfloat16, enabled=self.amp):
            losses, ious = self._rounds(views, again, device)
        return dict(mask=losses.mean(), _iou=ious.mean())

    @torch.no_grad()
    def _encode(self) -> None:
        """Keep the views that this step draws from: which they are depends on its number only."""
        newest = self.step // self.period + 1 + self.batch_size // VIEWS_AT_ONCE
        first = max(self.groups_encoded, newest - self.views.maxlen // VIEWS_AT_ONCE)
        for number in range(first, newest):
            host = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
            device = torch.Generator(self.data.device).manual_seed(number)
            indices = torch.multinomial(self.image_weights, VIEWS_AT_ONCE, True, generator=host)
            self.views.extend(
                encode_views(
                    self.model, self.data, indices, host, device, self.max_objects, self.amp
                )
            )
        self.groups_encoded = newest

    def _rounds(
        self, views: list[View], again: bool, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        masks = torch.cat([view.masks for view in views]).float() / 255
        bboxes = torch.cat([view.bboxes for view in views])
        decoded = WindowPrompts(*map(torch.cat, zip(*(view.prompts for view in views))))
        prompts = self._first_prompts(decoded, masks, bboxes, generator)
        logits, quality, windows = self._refine(views, prompts)
        losses, ious = window_losses(logits, quality, windows, masks)
        if again:
            given = prompts.given
            with torch.no_grad():
                pasted = paste_windows(logits, windows, PREVIOUS_SIZE, self.model.input_size)
                found = bboxes_of_logits(pasted, self.model.input_size)
                point, label = next_points(logits, windows, masks, generator)
                points = torch.cat((prompts.points, point), dim=1)
                labels = torch.cat((prompts.labels, label), dim=1)
                # as in use: the window of the next round is around the mask and all clicks in it
                follow = ~given & (found[:, 2:] > found[:, :2]).all(1)
                boxes = torch.where(follow[:, None], found, prompts.bboxes)
                boxes = torch.where(given[:, None], boxes, around(boxes, points, labels))
            prompts = WindowPrompts(boxes, given, points, labels, pasted)
            logits, quality, windows = self._refine(views, prompts)
            second, ious = window_losses(logits, quality, windows, masks)
            losses = (losses + second) / 2
        return losses, ious

    def _first_prompts(
        self, decoded: WindowPrompts, masks: Tensor, bboxes: Tensor, generator: torch.Generator
    ) -> WindowPrompts:
        """Half of them what the decoder was given and gave, the others drawn anew."""
        count, dev = len(masks), masks.device

        def uniform(*shape: int) -> Tensor:
            return torch.rand(shape, generator=generator, device=dev)

        given = uniform(count) < BOX_SHARE
        points, labels = first_points(masks, ~given, generator)
        boxes = drawn_boxes(bboxes, generator)
        # a point's window: around the object, roughly, or around the point in any size
        rough = jittered(bboxes, 0.25, generator)
        extent = (bboxes[:, 2:] - bboxes[:, :2]).amax(1).clamp(min=16)
        size = extent * ((uniform(count) * 2 - 1) * 1.1).exp()
        half = size[:, None] / 2
        anywhere = torch.cat((points[:, 0] - half, points[:, 0] + half), dim=1)
        guesses = torch.where(uniform(count, 1) < 0.5, rough, anywhere)
        guesses = around(guesses, points, labels)
        boxes = torch.where(given[:, None], boxes, guesses)
        drawn = WindowPrompts(boxes, given, points, labels, torch.zeros_like(decoded.previous))
        kept = uniform(count) < DECODED_SHARE
        return WindowPrompts(
            *(
                torch.where(kept.view(-1, *[1] * (old.ndim - 1)), old, new)
                for old, new in zip(decoded, drawn)
            )
        )

    def _refine(self, views: list[View], prompts: WindowPrompts) -> tuple[Tensor, Tensor, Tensor]:
        """As `OVSAM.refine`, of the objects of several images, those of one after another's."""
        read = [torch.cat(grids) for grids in zip(*self._read(views, prompts))]
        return (*self.model.refiner.decide(read), windows_of(prompts.bboxes))

    def _read(self, views: list[View], prompts: WindowPrompts) -> Iterator[list[Tensor]]:
        """What the refiner reads in each view."""
        counts = [len(view.masks) for view in views]
        parts = zip(*(part.split(counts) for part in prompts))
        for view, part in zip(views, map(WindowPrompts._make, parts)):
            yield self.model.refiner.read(
                view.features, part, windows_of(part.bboxes), self.model.input_size
            )

    @torch.no_grad()
    def begin(self) -> None:
        """Measure what the refiner reads, so that it can be normalized, unless that was done."""
        if any((conv.std != 1).any() for conv in self.model.refiner.inputs):
            return
        self._encode()
        views = [view for view in self.views if len(view.masks)]
        prompts = WindowPrompts(*map(torch.cat, zip(*(view.prompts for view in views))))
        for index, features in enumerate(zip(*self._read(views, prompts))):
            if index < len(GRIDS):
                features = torch.cat(features)
                for model in (self.model, self.averaged):
                    conv = model.refiner.inputs[index]
                    conv.mean.copy_(features.mean((0, 2, 3)))
                    conv.std.copy_(features.std((0, 2, 3)).clamp(min=1e-3))


def encode_views(
    model: OVSAM,
    data: PhotoData,
    indices: Tensor,
    host: torch.Generator,
    device: torch.Generator,
    max_objects: int,
    amp: bool = False,
) -> list[View]:
    """Augment and encode photographs, and decode a prompt of each object: a box or a point."""
    batch = make_batch(data, indices, host, max_objects, target_stride=1)
    batch.masks, batch.bboxes, batch.image_index = (
        part[batch.has_mask] for part in (batch.masks, batch.bboxes, batch.image_index)
    )
    count, dev = len(batch.masks), batch.masks.device
    with_box = torch.rand(count, generator=device, device=dev) < BOX_SHARE
    boxes = drawn_boxes(batch.bboxes, device)
    points, labels = first_points(batch.masks, ~with_box, device)
    with torch.autocast(data.device.type, torch.bfloat16, enabled=amp):
        features = model.extract_feat(batch.inputs)
        halves = F.avg_pool2d(batch.masks[:, None], 2)[:, 0]
        logits = []
        for rows in torch.arange(count, device=dev).split(16):
            session = Interaction(
                model, features, batch.image_index[rows], halves[rows], boxes[rows],
                with_box[rows], device, first_points=points[rows, 0],
            )  # fmt: skip
            decoded = session.decode()
            # of a point's three masks any one, most often the best
            chances = decoded.iou_predictions[:, 1:].float().clamp(min=0.05) ** 4
            drawn = 1 + torch.multinomial(chances, 1, generator=device)[:, 0]
            drawn = torch.where(with_box[rows], 0, drawn)
            rank = torch.arange(len(rows), device=dev)
            logits.append(decoded.low_res_logits[rank, drawn].float())
    logits = torch.cat(logits) if logits else halves
    found = bboxes_of_logits(logits[:, None], model.input_size)
    boxes = torch.where(with_box[:, None], boxes, around(found, points, labels))
    previous = F.interpolate(logits[:, None], (PREVIOUS_SIZE,) * 2, mode='area').clamp(-20, 20)
    prompts = WindowPrompts(boxes, with_box, points, labels, previous)
    views = []
    kept_dtype = torch.bfloat16 if amp else torch.float32
    for place in range(len(indices)):
        rows = batch.image_index == place
        views.append(
            View(
                features.image(place).map(lambda part: part.to(kept_dtype, copy=True)),
                (batch.masks[rows] * 255).byte(),
                batch.bboxes[rows],
                WindowPrompts(*(part[rows] for part in prompts)),
            )
        )
    return views


def drawn_boxes(bboxes: Tensor, generator: torch.Generator) -> Tensor:
    """Boxes as people and detectors give them: nearly exact, or with sides off by some 10%."""
    spread = torch.rand(len(bboxes), 1, generator=generator, device=bboxes.device)
    return jittered(bboxes, torch.where(spread < 0.6, 0.01, 0.12), generator)


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
    depth = depth_of(F.avg_pool2d(masks[wanted][:, None].float(), 4)[:, 0] > 0.4)
    points = masks.new_zeros(len(masks), 1, 2, dtype=torch.float32)
    points[wanted] = ((draw_inside(depth, generator) + 0.5) * 4 - 0.5)[:, None]
    return points, torch.where(wanted, 1.0, -1.0)[:, None]


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
    return 2 * entropy + dice + 3 * F.mse_loss(quality.float(), ious, reduction='none'), ious


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
            features = model.extract_feat(batch.inputs)
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
