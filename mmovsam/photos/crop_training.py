"""Training of the second look at masks, in crops."""

from __future__ import annotations

import torch
from torch import Tensor

from ..layers.windows import paste_windows, windows_of
from ..models.detectors.region_crops import RegionCrops, crop_windows, cut_out, prompts_in_crops
from .augmentation import make_inputs
from .window_training import WindowTrainer, window_losses, with_masks


class CropTrainer(WindowTrainer):
    """Trains the decoder of crops of a model whose other parts are frozen.

    It sees what the window decoder makes of boxes and points, and learns to make it better.

    Args:
        model: With a `crop_decoder`, on the device of the data.
        data: To learn from.
        features: Of the data.
        kwargs: See `PhotoTrainer`.
    """

    learned = 'crop_decoder'

    def losses(self, host: torch.Generator, device: torch.Generator) -> dict[str, Tensor]:
        """The loss of the crops' masks."""
        views, targets = self.draw_objects(host)
        prompts = self._first_prompts(targets, device)
        input_size = self.model.input_size
        with torch.autocast(self.data.device.type, torch.bfloat16, enabled=self.amp):
            with torch.no_grad():
                maps = [(self.features.maps(number), count) for number, count in views]
                earlier, _, windows = self._decode(maps, prompts)
                earlier = paste_windows(earlier, windows, input_size // 2, input_size)
                prompts = with_masks(prompts, earlier, input_size)
                crops = self.encode_crops(views, prompts.bboxes)
                seen = prompts_in_crops(crops, prompts, input_size)
            windows = windows_of(seen.bboxes)
            decoder = self.model.crop_decoder
            logits, quality = self._decide(decoder, decoder.read(crops.maps, seen, windows), device)
            losses, ious = window_losses(logits, quality, crops.outside(windows), targets)
        return dict(mask=losses.mean(), _iou=ious.mean())

    def encode_crops(self, views: list[tuple[int, int]], bboxes: Tensor) -> RegionCrops:
        """Crops around boxes of views, each a number and how many of the boxes are in it."""
        data, size = self.data, self.model.region_crop
        windows, pieces, start = crop_windows(bboxes), [], 0
        for number, count in views:
            index = torch.tensor([number % len(data)])
            inputs = make_inputs(
                data, index, self.features.transforms[number][None], self.features.colors_of(number)
            )
            pieces.append(cut_out(inputs, windows[start : start + count], size))
            start += count
        maps = self.model.backbone(torch.cat(pieces))
        return RegionCrops(tuple(each.float() for each in maps), windows, size)

    @torch.no_grad()
    def begin(self) -> None:
        """Begin with the window decoder's weights, unless it is trained already."""
        if any(conv.is_measured for conv in self.model.crop_decoder.inputs):
            return
        for model in (self.model, self.averaged):
            state = model.window_decoder.state_dict()
            own = model.crop_decoder.state_dict()
            model.crop_decoder.load_state_dict({name: state[name] for name in own})
