"""Training of the decoder that refines masks in image crops."""

from __future__ import annotations

import torch
from torch import Tensor

from ..layers.windows import paste_windows, windows_of
from ..models.detectors.region_crops import RegionCrops, crop_windows, cut_out, prompts_in_crops
from .augmentation import make_inputs
from .window_training import ROUNDS, WindowTrainer, window_losses, with_masks


class CropTrainer(WindowTrainer):
    """Trains the crop decoder of a model whose other parts are frozen.

    It learns to refine the window decoder's masks of boxes and points, then of simulated clicks.

    Args:
        model: With a `crop_decoder`, on the device of the data.
        data: To learn from.
        features: Of the data.
        kwargs: See `PhotoTrainer`.
    """

    learned = 'crop_decoder'

    def losses(self, host: torch.Generator, device: torch.Generator) -> dict[str, Tensor]:
        """The loss of the refined masks, averaged over the rounds of prompts."""
        views, targets = self.draw_objects(host)
        rounds = 1 + int(torch.multinomial(torch.tensor(ROUNDS), 1, generator=host))
        prompts, crops, total = self._first_prompts(targets, device), None, 0
        decoder, input_size = self.model.crop_decoder, self.model.input_size
        logits = outside = None
        with torch.autocast(self.data.device.type, torch.bfloat16, enabled=self.amp):
            maps = [(self.features.maps(number), count) for number, count in views]
            for turn in range(rounds):
                if turn:
                    prompts = self._next_prompts(prompts, logits, outside, targets, device)
                with torch.no_grad():
                    earlier, _, windows = self._decode(maps, prompts)
                    earlier = paste_windows(earlier, windows, input_size // 2, input_size)
                    refined = with_masks(prompts, earlier, input_size)
                    crops = self.encode_crops(views, refined.bboxes, host, crops)
                    crop_prompts = prompts_in_crops(crops, refined, input_size)
                windows = windows_of(crop_prompts.bboxes)
                read = decoder.read(crops.maps, crop_prompts, windows)
                logits, quality = self._decide(decoder, read, device)
                outside = crops.outside(windows)
                losses, ious = window_losses(logits, quality, outside, targets)
                total = total + losses.mean() / rounds
        return dict(mask=total, _iou=ious.mean())

    def encode_crops(
        self,
        views: list[tuple[int, int]],
        bboxes: Tensor,
        host: torch.Generator,
        earlier: RegionCrops | None = None,
    ) -> RegionCrops:
        """Encode crops around boxes.

        Half of the views without color augmentation are augmented here.

        Args:
            views: The number of each view and how many of the boxes are in it.
            bboxes: `(N, 4)` xyxy in pixels of the input, view by view.
            host: Draws colors.
            earlier: Crops of the round before; those of unchanged boxes are kept.
        """
        data, size = self.data, self.model.region_crop
        windows = crop_windows(bboxes)
        fresh = torch.ones_like(windows[:, 0], dtype=torch.bool)
        if earlier is not None:
            fresh = (windows != earlier.windows).any(1)
        pieces, start = [], 0
        for number, count in views:
            rows = slice(start, start + count)
            start += count
            chosen = windows[rows][fresh[rows]]
            if len(chosen):
                index = torch.tensor([number % len(data)])
                other = torch.rand(1, generator=host) < 0.5
                colors = self.features.colors_of(number) or (host if other else None)
                inputs = make_inputs(data, index, self.features.transforms[number][None], colors)
                pieces.append(cut_out(inputs, chosen, size))
        if not pieces:
            return earlier
        maps = tuple(each.float() for each in self.model.backbone(torch.cat(pieces)))
        if earlier is not None:
            pairs = zip(earlier.maps, maps)
            maps = tuple(old.index_copy(0, fresh.nonzero()[:, 0], new) for old, new in pairs)
        return RegionCrops(maps, windows, size)

    @torch.no_grad()
    def begin(self) -> None:
        """Copy the window decoder's weights, unless the crop decoder is trained already."""
        if any(conv.is_measured for conv in self.model.crop_decoder.inputs):
            return
        for model in (self.model, self.averaged):
            state = model.window_decoder.state_dict()
            own = model.crop_decoder.state_dict()
            model.crop_decoder.load_state_dict({name: state[name] for name in own})
