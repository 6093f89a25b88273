"""The training loop: data on the device, and a state that goes on exactly where it was."""

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

    Every step draws by its own number, so that a training that was stopped gives what it would
    have given.

    Args:
        model: On the device of the data.
        data: To learn from.
        names: Losses of names; None to learn masks only.
        steps: Updates in all.
        batch_size: Photographs an update.
        lr: Highest learning rate.
        tower_lr: That of the tower; 0 leaves it as it is.
        set_weights: How often photographs of a set are drawn, 1 by default; by the set's name.
        clicks: Simulated clicks after the first prompt.
        max_objects: Of a photograph.
        name_weight: Of the losses of names.
        warmup: Updates until the highest rate.
        ema: Decay of the averaged weights, which are those that are kept.
        seed: Of all that is drawn.
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
        weights = set_weights or {}
        useful = [float(bool(objects)) for objects in data.objects_of]
        drawn = [weights.get(source, 1.0) for source in data.photographs.sources]
        self.image_weights = torch.tensor(useful) * torch.tensor(drawn)
        self.params = [p for p in model.parameters() if p.requires_grad]
        groups = _groups(model, names, lr, tower_lr)
        fused = data.device.type == 'cuda'
        self.optimizer = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98), fused=fused)
        self.rates = [group['lr'] for group in self.optimizer.param_groups]
        self.averaged = copy.deepcopy(model).eval().requires_grad_(False)
        self.step = 0

    # Learning

    def begin(self) -> None:
        """What a training does once, when it is not resumed."""

    def train(
        self,
        work_dir: Path,
        val: PhotoData | None = None,
        save_every: int = 500,
        log_every: int = 50,
        seconds: float = math.inf,
    ) -> None:
        """Go on until the last step, or for some seconds; the state is kept in `work_dir`.

        That gets `state.pth` every `save_every` updates, when `val` is measured too, and `log.txt`.
        After the first update that ends later than `seconds` the training stops, with the state
        kept.
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
                sums[name] = sums[name] + value
            count += 1
            bar.update()
            if self.step % log_every == 0:
                means = {name: float(value) / count for name, value in sums.items()}
                line = ' '.join(f'{name} {value:.4f}' for name, value in means.items())
                self._log(work_dir, f'step {self.step} {time.monotonic() - start:.0f} s {line}')
                sums, count = defaultdict(float), 0
            if self.step % save_every == 0:
                self.save(work_dir / 'state.pth')
                self._measure(work_dir, val)
        bar.close()
        self.save(work_dir / 'state.pth')
        self._measure(work_dir, val)

    def _measure(self, work_dir: Path, val: PhotoData | None) -> None:
        if val is None:
            return
        text = ' '.join(f'{name} {value:.4f}' for name, value in self.measure(val).items())
        self._log(work_dir, f'step {self.step} val {text}')

    def measure(self, val: PhotoData) -> dict[str, float]:
        """How good the averaged weights are: see `evaluate_masks`."""
        return evaluate_masks(self.averaged, val, autocast=self.amp)

    def _log(self, work_dir: Path, line: str) -> None:
        work_dir.mkdir(parents=True, exist_ok=True)
        with open(work_dir / 'log.txt', 'a', encoding='utf-8') as file:
            file.write(line + '\n')
        tqdm.write(line)

    def update(self, progress: float) -> dict[str, Tensor]:
        """One step, at a `progress` of the schedule from 0 to 1; gives losses for the log."""
        rate = 0.5 * (1 + math.cos(math.pi * progress)) * 0.99 + 0.01
        rate *= min(1.0, (self.step + 1) / self.warmup)
        for group, highest in zip(self.optimizer.param_groups, self.rates):
            group['lr'] = highest * rate
        host = torch.Generator().manual_seed(self.seed * 1_000_003 + self.step)
        device = torch.Generator(self.data.device).manual_seed(self.seed * 1_000_003 + self.step)
        losses = self.losses(host, device)
        others = sum(value for name, value in losses.items() if name != 'mask')
        total = losses['mask'] + self.name_weight * others
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        norm = nn.utils.clip_grad_norm_(self.params, 1.0)
        self.optimizer.step()
        self.step += 1
        self._average()
        return {**{name: value.detach() for name, value in losses.items()}, 'grad': norm.detach()}

    def losses(self, host: torch.Generator, device: torch.Generator) -> dict[str, Tensor]:
        """The losses of a step: of the masks of several rounds of prompts, and of names.

        One generator draws on the host, one on the device.
        """
        indices = torch.multinomial(self.image_weights, self.batch_size, generator=host)
        batch = make_batch(self.data, indices, host, self.max_objects)
        self.model.train()
        amp = torch.autocast(self.data.device.type, torch.bfloat16, enabled=self.amp)
        with amp:
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
                chance = torch.rand(2, generator=host).tolist()
                mask_input, alone = None, False
                if turn:
                    alone = chance[0] < 0.1
                    if alone or chance[1] < 0.75:
                        mask_input = logits[:, None]
                    if not alone:
                        session.click(logits)
                decoded = session.decode(mask_input, alone)
                if label_tokens is None:
                    label_tokens = decoded.extra_tokens
                loss = interaction_loss(
                    decoded.low_res_logits[with_mask],
                    decoded.iou_predictions[with_mask],
                    masks,
                    windows,
                    with_box[with_mask] if turn == 0 else torch.ones_like(with_box[with_mask]),
                )
                # whole photographs with a name have no masks to learn
                total = total + (loss.mean() if len(loss) else loss.sum())
                # a point's first mask is the one that a person would choose to go on with
                best = decoded.iou_predictions[:, 1:].argmax(1)
                chosen = torch.where(with_box, 0, 1 + best) if turn == 0 else torch.zeros_like(best)
                rank = torch.arange(len(chosen), device=chosen.device)
                logits = decoded.low_res_logits[rank, chosen].detach().float()
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

    # Going on

    def save(self, path: Path) -> None:
        """Keep the state, whole or not at all."""
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
        """Go on from a state that was kept."""
        state = torch.load(path, map_location=self.data.device, weights_only=True)
        self.model.load_state_dict(state['model'])
        self.averaged.load_state_dict(state['averaged'])
        if self.names is not None and state['names'] is not None:
            self.names.classes.load_state_dict(state['names'])
        self.optimizer.load_state_dict(state['optimizer'])
        self.step = state['step']


def freeze_all_but(model: OVSAM, part: str) -> None:
    """Let one part of a model learn, and nothing else."""
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
