"""Losses of region embeddings: distillation from crops by the untuned tower, and labels."""

from __future__ import annotations

from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from ..layers.bboxes import masks_to_bboxes
from ..layers.windows import read_windows_of_each, window_grid
from ..models.backbones import TimmBackbone
from ..models.detectors import OVSAM
from ..models.detectors.features import ImageFeatures
from .augmentation import Batch, on_gray
from .data import CANVAS, PhotoData

CROP_SIZE = 288
CROP_MARGIN = 1.2
TEMPERATURE = 0.06
"""Of the distributions over ImageNet's classes that the distillation compares."""
LOGIT_SCALE = 20.0


@torch.no_grad()
def crop_features(
    data: PhotoData, tower: TimmBackbone, objects: Tensor, batch_size: int = 64, amp: bool = False
) -> Tensor:
    """Penultimate features `(n, F)` float32, on the host, of crops around objects.

    The tower is in eval mode on the device of the data; `amp` is bfloat16.
    """
    features = []
    for chunk in tqdm(objects.split(batch_size), desc='crops', delay=2):
        with torch.autocast(data.device.type, torch.bfloat16, enabled=amp):
            crops = crop_regions(data, chunk)
            maps = tower.embed_map(tower(crops)[-1])
        features.append(maps.float().mean((2, 3)).cpu())
    return torch.cat(features)


def crop_regions(data: PhotoData, objects: Tensor) -> Tensor:
    """Normalized square crops `(n, 3, 288, 288)` around objects, gray outside of the photograph."""
    device = data.device
    index = data.image_of[objects]
    boxes = masks_to_bboxes(data.masks_of(objects)[:, 0].bool()).float()
    center = (boxes[:, :2] + boxes[:, 2:]) / 2
    side = (boxes[:, 2:] - boxes[:, :2]).amax(1).clamp(min=16) * CROP_MARGIN
    # at most the photograph
    side = torch.minimum(side, data.sizes[index].to(device).amax(1).float())
    half = side[:, None] / 2
    grid = window_grid(torch.cat((center - half, center + half), dim=1), CROP_SIZE)
    return read_windows_of_each(on_gray(data, index), grid, CANVAS)


class RegionNames(nn.Module):
    """Losses of the two embeddings of regions, the head's and the tower's.

    Each learns the untuned tower's embedding of the object's crop, `crops` `(M, D)`, compared over
    ImageNet's classes, `rows` `(1000, D)`; and the labels of the data sets, by an auxiliary
    classifier. Labels with one of the words `without` are not learned.
    """

    def __init__(
        self, data: PhotoData, crops: Tensor, rows: Tensor, without: Collection[str] = ()
    ) -> None:
        super().__init__()
        objects, sources = data.photographs.objects, data.photographs.sources
        words = set(without)
        names = [
            None
            if sources[obj['image']] == 'imagenet_samples'
            or obj['name'] == 'object'
            or words & set(obj['name'].lower().split())
            else obj['name']
            for obj in objects
        ]
        self.names = sorted({name for name in names if name})
        indices = {name: index for index, name in enumerate(self.names)}
        labels = torch.tensor([indices.get(name, -1) for name in names])
        counts = torch.bincount(labels[labels >= 0], minlength=len(indices)).float()
        weights = counts.clamp(min=1).pow(-0.5)
        self.register_buffer('weights', weights / weights[labels[labels >= 0]].mean())
        self.register_buffer('labels', labels)
        self.register_buffer('crops', F.normalize(crops, dim=1))
        self.register_buffer('rows', F.normalize(rows, dim=1))
        self.classes = nn.Embedding(len(indices), rows.shape[1])

    def forward(
        self, model: OVSAM, features: ImageFeatures, batch: Batch, label_tokens: Tensor
    ) -> dict[str, Tensor]:
        """The losses of a batch, given its features and label tokens `(N, 1, C)`."""
        head, tower = model.head, model.backbone
        means = head.pool_regions(features.region_maps, batch.bboxes, batch.image_index)
        by_head = head.embed_pooled(means, label_tokens)
        pooled = tower.pool_regions(
            tower.embed_map(features.stage4), batch.image_index, batch.bboxes
        )
        by_tower = tower.project(pooled)
        objects = batch.objects.to(self.labels.device)
        targets = self.crops[objects]
        weights = (batch.visible > 0.6).float()
        losses = {}
        for name, embeddings in dict(head=by_head, tower=by_tower).items():
            embeddings = F.normalize(embeddings.float(), dim=1)
            losses[f'{name}_crop'] = self._distillation(embeddings, targets, weights)
            losses[f'{name}_label'] = self._classification(embeddings, objects)
        return losses

    def _distillation(self, embeddings: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        log_probs = (embeddings @ self.rows.T / TEMPERATURE).log_softmax(1)
        target_probs = (targets @ self.rows.T / TEMPERATURE).softmax(1)
        divergence = F.kl_div(log_probs, target_probs, reduction='none').sum(1)
        distance = 1 - (embeddings * targets).sum(1)
        return ((divergence + distance) * weights).sum() / weights.sum().clamp(min=1)

    def _classification(self, embeddings: Tensor, objects: Tensor) -> Tensor:
        labels = self.labels[objects]
        classes = F.normalize(self.classes.weight.float(), dim=1)
        logits = LOGIT_SCALE * embeddings @ classes.T
        losses = F.cross_entropy(logits, labels, ignore_index=-1, reduction='none')
        weights = (labels >= 0) * self.weights[labels.clamp(min=0)]
        return (losses * weights).sum() / weights.sum().clamp(min=1)
