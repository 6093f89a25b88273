"""The training loop: data on the device, and exact resuming."""

from __future__ import annotations

import copy
import math
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ..fileio import atomic_path
from ..models.detectors import OVSAM
from .augmentation import make_batch
from .data import PhotoData
from .evaluation import evaluate_masks
from .interaction import BOX_SHARE, Interaction, jittered
from .losses import interaction_loss, windows_of
from .region_names import RegionNames


class PhotoTrainer:
    """Trains an OVSAM on photographs.

    Each step seeds its generators by its number, so a resumed training gives the same result as an
    uninterrupted one.

    Args:
        model: On the device of the data.
        data: To learn from.
        names: Losses of the region embeddings; None to learn masks only.
        steps: Number of updates.
        batch_size: Photographs per update.
        lr: Highest learning rate.
        tower_lr: Learning rate of the tower; 0 freezes it.
        set_weights: Sampling weights of data sets by name, 1 by default.
        clicks: Simulated clicks after the first prompt.
        max_objects: Objects per photograph.
        name_weight: Weight of the losses of names.
        warmup: Updates until the highest rate.
        ema: Decay of the averaged weights, which are the result.
        seed: Of the generators.
        amp: Whether to use bfloat16.
    """

    def __init__(
        self,
        model: OVSAM,
        data: PhotoData,
        names: RegionNames | None = None,
        steps: int = 2000,
        batch_size: int = 16,
        lr: float = 6e-4,
        tower_lr: float = 2e-4,
        set_weights: Mapping[str, float] | None = None,
        clicks: int = 2,
        max_objects: int = 6,
        name_weight: float = 0.5,
        warmup: int = 100,
        ema: float = 0.998,
        seed: int = 0,
        amp: bool = False,
    ) -> None:
        self.model, self.data, self.names = model, data, names
        self.steps, self.batch_size, self.warmup = steps, batch_size, warmup
        self.clicks, self.max_objects, self.name_weight = clicks, max_objects, name_weight
        self.seed, self.amp, self.decay = seed, amp, ema
        set_weights = set_weights or {}
        weights = [
            set_weights.get(source, 1.0) if objects else 0.0
            for source, objects in zip(data.photographs.sources, data.objects_of)
        ]
        self.image_weights = torch.tensor(weights)
        self.params = [p for p in model.parameters() if p.requires_grad]
        groups = _groups(model, names, lr, tower_lr)
        fused = data.device.type == 'cuda'
        self.optimizer = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98), fused=fused)
        self.rates = [group['lr'] for group in self.optimizer.param_groups]
        self.averaged = copy.deepcopy(model).eval().requires_grad_(False)
        self.step = 0

    def begin(self) -> None:
        """Prepare a training that is not resumed."""

    def train(
        self,
        work_dir: Path,
        val: PhotoData | None = None,
        save_every: int = 500,
        log_every: int = 50,
        seconds: float = math.inf,
    ) -> None:
        """Train to the last step, or for about `seconds`, to which the schedule then adapts.

        `work_dir` gets `log.txt` and, every `save_every` updates and at the end, `state.pth`; then
        `val` is measured, too.
        """
        start, sums, count = time.monotonic(), defaultdict(float), 0
        bar = tqdm(total=self.steps, initial=self.step, desc='training', unit=' steps')
        while self.step < self.steps:
            progress = self.step / self.steps
            if seconds < math.inf:  # the schedule ends when the time does
                progress = max(progress, (time.monotonic() - start) / seconds)
            if progress >= 1:
                break
            for name, value in self.update(progress).items():
                sums[name] += value
            count += 1
            bar.update()
            if self.step % log_every == 0:
                means = {name: float(value) / count for name, value in sums.items()}
                line = ' '.join(f'{name} {value:.4f}' for name, value in means.items())
                self._log(work_dir, f'step {self.step} {time.monotonic() - start:.0f} s {line}')
                sums, count = defaultdict(float), 0
            if self.step % save_every == 0:
                self._checkpoint(work_dir, val)
        bar.close()
        self._checkpoint(work_dir, val)

    def _checkpoint(self, work_dir: Path, val: PhotoData | None) -> None:
        self.save(work_dir / 'state.pth')
        if val is not None:
            line = ' '.join(f'{name} {value:.4f}' for name, value in self.measure(val).items())
            self._log(work_dir, f'step {self.step} val {line}')

    def measure(self, val: PhotoData) -> dict[str, float]:
        """Metrics of the averaged weights, see `evaluate_masks`."""
        return evaluate_masks(self.averaged, val, autocast=self.amp)

    def _log(self, work_dir: Path, line: str) -> None:
        work_dir.mkdir(parents=True, exist_ok=True)
        with open(work_dir / 'log.txt', 'a', encoding='utf-8') as file:
            file.write(line + '\n')
        tqdm.write(line)

    def update(self, progress: float) -> dict[str, Tensor]:
        """One step, at `progress` 0 to 1 of the schedule; returns detached losses for the log."""
        rate = 0.5 * (1 + math.cos(math.pi * progress)) * 0.99 + 0.01
        rate *= min(1.0, (self.step + 1) / self.warmup)
        for group, highest in zip(self.optimizer.param_groups, self.rates):
            group['lr'] = highest * rate
        host = torch.Generator().manual_seed(self.seed * 1_000_003 + self.step)
        device = torch.Generator(self.data.device).manual_seed(self.seed * 1_000_003 + self.step)
        losses = self.losses(host, device)
        name_loss = sum(value for name, value in losses.items() if name != 'mask')
        total = losses['mask'] + self.name_weight * name_loss
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        norm = nn.utils.clip_grad_norm_(self.params, 1.0)
        self.optimizer.step()
        self.step += 1
        self._average()
        return {**{name: value.detach() for name, value in losses.items()}, 'grad': norm.detach()}

    def losses(self, host: torch.Generator, device: torch.Generator) -> dict[str, Tensor]:
        """The losses of a step, over several rounds of prompts; generators of host and device."""
        indices = torch.multinomial(self.image_weights, self.batch_size, generator=host)
        batch = make_batch(self.data, indices, host, self.max_objects)
        self.model.train()
        with torch.autocast(self.data.device.type, torch.bfloat16, enabled=self.amp):
            features = self.model.extract_feat(batch.inputs)
            with_mask = batch.has_mask
            masks = batch.masks[with_mask]
            total = batch.inputs.new_zeros(())
            with_box = torch.rand(len(batch.masks), generator=device, device=masks.device)
            with_box = with_box < BOX_SHARE
            spread = torch.rand(len(batch.masks), 1, generator=device, device=masks.device)
            spread = torch.where(spread < 0.5, 0.015, 0.13)
            bboxes = jittered(batch.bboxes, spread, device)
            session = Interaction(
                self.model, features, batch.image_index, batch.masks, bboxes, with_box, device
            )
            windows = windows_of(batch.bboxes[with_mask], masks.shape[-1], session.stride)
            logits = label_tokens = None
            for turn in range(self.clicks + 1):
                chances = torch.rand(2, generator=host).tolist()
                mask_input, mask_only = None, False
                if turn:
                    mask_only = chances[0] < 0.1
                    if mask_only or chances[1] < 0.75:
                        mask_input = logits[:, None]
                    if not mask_only:
                        session.click(logits)
                decoded = session.decode(mask_input, mask_only)
                if label_tokens is None:
                    label_tokens = decoded.extra_tokens
                loss = interaction_loss(
                    decoded.low_res_logits[with_mask],
                    decoded.iou_predictions[with_mask],
                    masks,
                    windows,
                    with_box[with_mask] if turn == 0 else torch.ones_like(with_box[with_mask]),
                )
                # whole photographs with a name have no masks
                total = total + (loss.mean() if len(loss) else loss.sum())
                # after a first point, a user goes on with the best of its masks
                best = decoded.iou_predictions[:, 1:].argmax(1)
                chosen = torch.where(with_box, 0, 1 + best) if turn == 0 else torch.zeros_like(best)
                rows = torch.arange(len(chosen), device=chosen.device)
                logits = decoded.low_res_logits[rows, chosen].detach().float()
            losses = dict(mask=total / (self.clicks + 1))
            if self.names is not None:
                losses.update(self.names(self.model, features, batch, label_tokens))
        return losses

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.decay, (1 + self.step) / (10 + self.step))
        pairs = zip(self.averaged.parameters(), self.model.parameters())
        averages, values = zip(*((a, p) for a, p in pairs if p.requires_grad))
        torch._foreach_lerp_(list(averages), list(values), 1 - decay)

    def save(self, path: Path) -> None:
        """Write the state atomically."""
        state = dict(
            model=self.model.state_dict(),
            averaged=self.averaged.state_dict(),
            names=None if self.names is None else self.names.classes.state_dict(),
            optimizer=self.optimizer.state_dict(),
            step=self.step,
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            torch.save(state, temporary)

    def resume(self, path: Path) -> None:
        """Load a state of `save`."""
        state = torch.load(path, map_location=self.data.device, weights_only=True)
        self.model.load_state_dict(state['model'])
        self.averaged.load_state_dict(state['averaged'])
        if self.names is not None and state['names'] is not None:
            self.names.classes.load_state_dict(state['names'])
        self.optimizer.load_state_dict(state['optimizer'])
        self.step = state['step']


def freeze_all_but(model: OVSAM, part: str) -> None:
    """Freeze all parameters but those of a submodule."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(f'{part}.'))


def _groups(model: OVSAM, names: RegionNames | None, lr: float, tower_lr: float) -> Sequence[dict]:
    """Parameters by learning rate; norms, biases and tokens do not decay."""
    groups = defaultdict(list)
    named = list(model.named_parameters())
    if names is not None:
        named += [(f'names.{name}', p) for name, p in names.named_parameters()]
    for name, parameter in named:
        if not parameter.requires_grad:
            continue
        rate = tower_lr if name.startswith('backbone.') else lr
        if rate == 0:
            parameter.requires_grad_(False)
            continue
        decays = parameter.ndim > 1 and 'token' not in name and 'embed' not in name
        groups[rate, 0.05 if decays else 0.0].append(parameter)
    return [
        dict(params=params, lr=rate, weight_decay=decay) for (rate, decay), params in groups.items()
    ]
