"""Training of the ranker of a click's masks, after the window decoder."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from ..models.heads.mask_ranker import MaskRanker
from .losses import mask_ious
from .window_training import WindowTrainer, first_points


class Candidates(NamedTuple):
    """Masks in windows of G sizes around N clicks.

    `features` are `(N, G, C)`, see `MaskRanker.features`, and `ious` `(N, G)` with the object.
    """

    features: Tensor
    ious: Tensor


@torch.no_grad()
def draw_candidates(trainer: WindowTrainer, count: int, seed: int = 0) -> Candidates:
    """Candidate masks of at least `count` simulated clicks, by the trainer's averaged weights."""
    decoder = trainer.averaged.window_decoder
    size = decoder.logit_size // 2
    host = torch.Generator().manual_seed(seed)
    device = torch.Generator(trainer.data.device).manual_seed(seed)
    features, ious = [], []
    with tqdm(total=count, desc='clicks to rank') as bar:
        while sum(map(len, ious)) < count:
            maps, targets = trainer.draw(host)
            clicked = torch.ones(len(targets), dtype=torch.bool, device=targets.areas.device)
            points, labels = first_points(targets, clicked, device)
            start = 0
            for image_maps, number in maps:
                rows = slice(start, start := start + number)
                logits, quality, _, masks = decoder.propose(image_maps, points[rows], labels[rows])
                features.append(decoder.ranker.features(masks, quality, logits))
                image = masks.new_tensor([[0.0, 0.0, decoder.image_size, decoder.image_size]])
                truth = targets[rows].in_windows(image.expand(number, 4), size)
                ious.append(mask_ious(masks, truth[:, 0]))
            bar.update(len(targets))
    return Candidates(torch.cat(features), torch.cat(ious))


def train_ranker(
    ranker: MaskRanker,
    candidates: Candidates,
    epochs: int = 60,
    batch_size: int = 128,
    lr: float = 2e-3,
    weight_decay: float = 0.1,
    seed: int = 0,
) -> dict[str, float]:
    """Fit the predicted IoU of each candidate.

    Returns:
        The mean IoU of the chosen masks in percent: `alone`, by the quality of each; `ranked`, by
        the ranker; and `best`, by their IoU.
    """
    features, ious = candidates
    ranker.mean.copy_(features.mean((0, 1)))
    ranker.std.copy_(features.std((0, 1)).clamp(min=1e-3))
    optimizer = torch.optim.AdamW(ranker.parameters(), lr, weight_decay=weight_decay)
    generator = torch.Generator().manual_seed(seed)
    steps = max(1, epochs * len(features) // batch_size)
    for step in range(steps):
        for group in optimizer.param_groups:
            group['lr'] = lr * (1 - step / steps)
        rows = torch.randint(len(features), (batch_size,), generator=generator).to(features.device)
        loss = F.mse_loss(ranker.rank(features[rows]), ious[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        rankings = dict(alone=features[..., 0], ranked=ranker.rank(features), best=ious)
    return {
        name: 100 * ious.gather(1, scores.argmax(1, keepdim=True)).mean().item()
        for name, scores in rankings.items()
    }
