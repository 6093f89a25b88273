"""Training of the window decoder on feature maps of a frozen tower."""

from __future__ import annotations

import copy
from collections import Counter

import torch
import torch.nn.functional as F
from torch import Tensor

from ..layers.bboxes import bboxes_of_logits, masks_to_bboxes
from ..layers.windows import (
    around,
    paste_windows,
    read_windows_of_each,
    window_grid,
    windows_of,
)
from ..models.detectors import OVSAM
from ..models.heads.window_decoder import GRIDS, WindowDecoder, WindowPrompts, mirrored
from .augmentation import MIN_AREA, MIN_VISIBLE
from .data import CANVAS, PhotoData
from .encoded import EncodedPhotos
from .interaction import depth_of, draw_corrections, draw_inside, jittered
from .losses import dice_losses
from .trainer import PhotoTrainer, freeze_all_but

BOX_SHARE = 0.5
"""Share of objects prompted with a box; the others get a point."""
ROUNDS = (0.3, 0.25, 0.25, 0.2)
"""Shares of updates with one to four rounds; each later round starts from the previous mask."""
CLICK_SHARE = 0.85
"""Share of objects that get a corrective click in a later round; the others only the mask."""
PREVIOUS_SIZE = 128


class Targets:
    """N target masks in views of photographs.

    Args:
        masks: `(N, 512, 512)` uint8, on the canvas of the photograph.
        transforms: `(N, 4)` from the canvas to the input, see `test_transforms`.

    Attributes:
        coarse: `(N, 128, 128)`, the covered share of each 4x4 square of the input.
        areas: `(N,)` in pixels of the input.
        bboxes: `(N, 4)` xyxy in pixels of the input, of the visible part.
    """

    def __init__(self, masks: Tensor, transforms: Tensor) -> None:
        self.masks = masks
        self.scales, self.offsets = transforms.to(masks.device).split(2, dim=1)
        whole = torch.tensor([[0.0, 0.0, CANVAS, CANVAS]], device=masks.device)
        self.coarse = self.in_windows(whole.expand(len(masks), 4), 128)[:, 0]
        self.areas = self.coarse.sum((1, 2)) * (CANVAS / 128) ** 2
        corners = masks_to_bboxes(masks > 0).float().unflatten(1, (2, 2))
        corners = corners * self.scales[:, None] + self.offsets[:, None]
        exact = torch.cat((corners.amin(1), corners.amax(1)), dim=1)
        visible = masks_to_bboxes(self.coarse > 0).float() * (CANVAS / 128)
        self.bboxes = torch.cat(
            (exact[:, :2].maximum(visible[:, :2]), exact[:, 2:].minimum(visible[:, 2:])), dim=1
        )

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, rows: Tensor) -> Targets:
        found = copy.copy(self)
        vars(found).update({name: part[rows] for name, part in vars(self).items()})
        return found

    @torch.no_grad()
    def in_windows(self, windows: Tensor, side: int = GRIDS[-1]) -> Tensor:
        """`(N, 1, side, side)`: the covered share of each position of windows `(N, 4)`."""
        places = window_grid(windows, 2 * side)
        places = (places - self.offsets[:, None, None]) / self.scales[:, None, None]
        return F.avg_pool2d(read_windows_of_each(self.masks[:, None].float(), places, CANVAS), 2)


class WindowTrainer(PhotoTrainer):
    """Trains the window decoder of a model whose other parts are frozen.

    Args:
        model: On the device of the data.
        data: To learn from.
        features: Feature maps of the data.
        kwargs: See `PhotoTrainer`.
    """

    learned = 'window_decoder'

    def __init__(self, model: OVSAM, data: PhotoData, features: EncodedPhotos, **kwargs) -> None:
        freeze_all_but(model, self.learned)
        super().__init__(model, data, **kwargs)
        self.features = features
        with_mask = torch.zeros(len(data))
        with_mask[data.image_of[data.has_mask & (data.areas > 0)]] = 1
        views = len(features) // len(data)
        self.image_weights = (self.image_weights * with_mask).repeat(views)
        if not self.image_weights.any():
            raise ValueError('None of the photographs has a mask to learn from.')

    def losses(self, host: torch.Generator, device: torch.Generator) -> dict[str, Tensor]:
        """The loss of the masks, averaged over the rounds of prompts."""
        maps, targets = self.draw(host)
        rounds = 1 + int(torch.multinomial(torch.tensor(ROUNDS), 1, generator=host))
        prompts = self._first_prompts(targets, device)
        total = 0
        logits = windows = None
        with torch.autocast(self.data.device.type, torch.bfloat16, enabled=self.amp):
            for turn in range(rounds):
                if turn:
                    prompts = self._next_prompts(prompts, logits, windows, targets, device)
                logits, quality, windows = self._decode(maps, prompts, device)
                losses, ious = window_losses(logits, quality, windows, targets)
                total = total + losses.mean() / rounds
        return dict(mask=total, _iou=ious.mean())

    def draw(self, host: torch.Generator) -> tuple[list[tuple[tuple[Tensor, ...], int]], Targets]:
        """Draw views, as their maps and number of objects each, and the targets in them."""
        views, targets = self.draw_objects(host)
        return [(self.features.maps(number), count) for number, count in views], targets

    def draw_objects(self, host: torch.Generator) -> tuple[list[tuple[int, int]], Targets]:
        """Draw views, as their numbers and number of objects each, and the targets in them."""
        data, objects, numbers = self.data, [], []
        drawn = torch.multinomial(self.image_weights, self.batch_size, True, generator=host)
        for number in drawn.tolist():
            own = data.objects_of[number % len(data)]
            order = torch.randperm(len(own), generator=host).tolist()
            shown = [own[i] for i in order if data.has_mask[own[i]]][: self.max_objects]
            objects += shown
            numbers += [number] * len(shown)
        if not objects:
            return self.draw_objects(host)
        objects, numbers = torch.tensor(objects), torch.tensor(numbers)
        targets = Targets(data.masks_of(objects)[:, 0], self.features.transforms[numbers])
        full = data.areas[objects].to(data.device) * targets.scales.prod(1).abs()
        kept = (targets.areas >= MIN_AREA) & (targets.areas >= MIN_VISIBLE * full)
        views = list(Counter(numbers[kept.cpu()].tolist()).items())
        return (views, targets[kept]) if views else self.draw_objects(host)

    def _first_prompts(self, targets: Targets, generator: torch.Generator) -> WindowPrompts:
        """Boxes, or points with windows of random size around them."""
        bboxes, count = targets.bboxes, len(targets)
        dev = bboxes.device

        def uniform(*shape: int) -> Tensor:
            return torch.rand(shape, generator=generator, device=dev)

        given = uniform(count) < BOX_SHARE
        points, labels = first_points(targets, ~given, generator)
        boxes = drawn_boxes(bboxes, generator)
        # the window of a point: roughly around the object, or of random size around the point
        rough = jittered(bboxes, 0.25, generator)
        extent = (bboxes[:, 2:] - bboxes[:, :2]).amax(1).clamp(min=16)
        size = extent * ((uniform(count) * 2 - 1) * 1.1).exp()
        half = size[:, None] / 2
        anywhere = torch.cat((points[:, 0] - half, points[:, 0] + half), dim=1)
        guesses = torch.where(uniform(count, 1) < 0.3, rough, anywhere)
        guesses = around(guesses, points, labels)
        boxes = torch.where(given[:, None], boxes, guesses)
        none = torch.zeros(count, 1, PREVIOUS_SIZE, PREVIOUS_SIZE, device=dev)
        return WindowPrompts(boxes, given, points, labels, none)

    @torch.no_grad()
    def _next_prompts(
        self,
        prompts: WindowPrompts,
        logits: Tensor,
        windows: Tensor,
        targets: Targets,
        generator: torch.Generator,
    ) -> WindowPrompts:
        """Prompts with the previous mask, most of them with a corrective click."""
        pasted = paste_windows(logits, windows, PREVIOUS_SIZE, self.model.input_size)
        point, label = next_points(logits, windows, targets, generator)
        clicked = torch.rand(label.shape, generator=generator, device=label.device) < CLICK_SHARE
        points = torch.cat((prompts.points, point), dim=1)
        labels = torch.cat((prompts.labels, torch.where(clicked, label, -1)), dim=1)
        # as in prediction, the next window is around the mask and all clicks
        prompts = with_masks(prompts, pasted, self.model.input_size)
        boxes = torch.where(
            prompts.given[:, None], prompts.bboxes, around(prompts.bboxes, points, labels)
        )
        return prompts._replace(bboxes=boxes, points=points, labels=labels)

    def _decode(
        self,
        maps: list[tuple[tuple[Tensor, ...], int]],
        prompts: WindowPrompts,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As `WindowDecoder.forward`, for objects of several images, half of them mirrored."""
        decoder, windows = self.model.window_decoder, windows_of(prompts.bboxes)
        read = self._read(maps, prompts, windows)
        if generator is None:
            return (*decoder.decide(read), windows)
        return (*self._decide(decoder, read, generator), windows)

    @staticmethod
    def _decide(
        decoder: WindowDecoder, read: list[Tensor], generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """As `WindowDecoder.decide`, with half of the objects mirrored."""
        count, device = len(read[0]), read[0].device
        flip = torch.rand(count, generator=generator, device=device) < 0.5
        flip = flip[:, None, None, None]
        other = mirrored(read)
        logits, quality = decoder.decide([torch.where(flip, *pair) for pair in zip(other, read)])
        return torch.where(flip, logits.flip(3), logits), quality

    def _read(
        self,
        maps: list[tuple[tuple[Tensor, ...], int]],
        prompts: WindowPrompts,
        windows: Tensor,
    ) -> list[Tensor]:
        """As `WindowDecoder.read`, for objects of several images."""
        counts = [count for _, count in maps]
        parts = map(WindowPrompts._make, zip(*(part.split(counts) for part in prompts)))
        read = [
            self.model.window_decoder.read(image_maps, part, window)
            for (image_maps, _), part, window in zip(maps, parts, windows.split(counts))
        ]
        return [torch.cat(grids) for grids in zip(*read)]

    @torch.no_grad()
    def begin(self) -> None:
        """Measure the mean and deviation of the decoder's input features, unless that was done."""
        if any(conv.is_measured for conv in self.model.window_decoder.inputs):
            return
        host = torch.Generator().manual_seed(self.seed)
        drawn = []
        for _ in range(16):
            maps, targets = self.draw(host)
            prompts = self._first_prompts(targets, torch.Generator(self.data.device))
            drawn.append(self._read(maps, prompts, windows_of(prompts.bboxes))[: len(GRIDS)])
        for index, features in enumerate(map(torch.cat, zip(*drawn))):
            for model in (self.model, self.averaged):
                model.window_decoder.inputs[index].measure(features)


def with_masks(prompts: WindowPrompts, masks: Tensor, input_size: int) -> WindowPrompts:
    """Prompts with masks `(N, 1, h, w)`, and with boxes of these where no box is given."""
    found = bboxes_of_logits(masks, input_size)
    follow = ~prompts.given & (found[:, 2:] > found[:, :2]).all(1)
    bboxes = torch.where(follow[:, None], found, prompts.bboxes)
    return prompts._replace(bboxes=bboxes, previous=masks)


def drawn_boxes(bboxes: Tensor, generator: torch.Generator) -> Tensor:
    """Simulate boxes of users and detectors: nearly exact, or with sides off by up to 20%."""
    drawn = torch.rand(len(bboxes), 2, 1, generator=generator, device=bboxes.device)
    spread = torch.where(drawn[:, 0] < 0.45, 0.01, 0.08 + 0.12 * drawn[:, 1])
    return jittered(bboxes, spread, generator)


def first_points(
    targets: Targets, wanted: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw a point inside each mask, half of the time near its center.

    Args:
        targets: N objects.
        wanted: `(N,)` bool, which objects get a point; the others get padding.
        generator: On the device of the targets.

    Returns:
        Points `(N, 1, 2)` in pixels of the input and labels `(N, 1)`.
    """
    masks = targets.coarse[wanted]
    depth = depth_of(masks > masks.amax((1, 2), keepdim=True).clamp(max=0.8) / 2)
    points = masks.new_zeros(len(wanted), 1, 2)
    drawn = (draw_inside(depth, generator) + 0.5) * (CANVAS / masks.shape[-1]) - 0.5
    points[wanted] = drawn[:, None]
    return points, torch.where(wanted, 1.0, -1.0)[:, None]


def window_losses(
    logits: Tensor, quality: Tensor, windows: Tensor, targets: Targets
) -> tuple[Tensor, Tensor]:
    """Cross entropy and Dice loss of masks in their windows, and the loss of the predicted IoU.

    Returns:
        Losses `(N,)` and IoUs `(N,)`.
    """
    wanted, logits = targets.in_windows(windows), logits.float()
    entropy = F.binary_cross_entropy_with_logits(logits, wanted, reduction='none').mean((1, 2, 3))
    dice = dice_losses(logits, wanted)[:, 0]
    with torch.no_grad():
        found, inside = logits > 0, wanted > 0.5
        union = (found | inside).sum((1, 2, 3)).float()
        # pixels outside the window count as missed
        position = (windows[:, 2:] - windows[:, :2]).prod(1) / logits.shape[-1] ** 2
        outside = (targets.areas / position - wanted.sum((1, 2, 3))).clamp(min=0)
        ious = (found & inside).sum((1, 2, 3)) / (union + outside).clamp(min=1)
    return 2 * entropy + dice + 2 * F.mse_loss(quality.float(), ious, reduction='none'), ious


def next_points(
    logits: Tensor, windows: Tensor, targets: Targets, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw a corrective click for each mask.

    Returns:
        Points `(N, 1, 2)` in pixels of the input and labels `(N, 1)`.
    """
    wanted = targets.in_windows(windows)[:, 0] > 0.5
    points, labels = draw_corrections(logits[:, 0] > 0, wanted, generator)
    origin, extent = windows[:, :2], windows[:, 2:] - windows[:, :2]
    points = origin + (points + 0.5) / logits.shape[-1] * extent - 0.5
    return points[:, None], labels.long()[:, None]
