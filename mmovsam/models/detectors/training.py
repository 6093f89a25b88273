"""The losses of a batch of images of one or several sources, and what the log says of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from mmdet.utils import reduce_mean
from torch import Tensor

from ...layers import at_least_float32, to_device
from ..heads import CLIP2SAMHead, OpenVocabClassifier
from ..losses import ImageLabels


class TrainedImage(NamedTuple):
    """What training makes of the N prompted objects of one image."""

    source: str | None
    """Which of several data sets it is from; None where there is one."""
    low_res_logits: Tensor | None
    """`(N, 1, h, w)`; None for data without masks."""
    masks: Tensor | None
    """`(N, H, W)` over the same extent."""
    points: Tensor | None
    """`(N, P, 2)`, where they are compared: see `CLIP2SAMHead.sample_points`."""
    embeddings: Tensor | None
    """`(N, D)`; None for a model without names."""
    labels: Tensor
    """`(N,)`, on the host."""
    image_labels: ImageLabels


def mask_losses(
    head: CLIP2SAMHead, images: Sequence[TrainedImage], zero: Tensor
) -> dict[str, Tensor]:
    """The losses of the masks, where there are any; of several processes each has to call this.

    `loss_mask`, `zero` without a mask, and `loss_dice` are means over all objects with a mask in
    all processes; for the log there is each source's part of them as `{source}/mask` and
    `{source}/dice`.
    """
    images = [image for image in images if image.masks is not None]
    total = sum(len(image.masks) for image in images)
    total = reduce_mean(at_least_float32(zero).new_full((), total))
    losses, parts = dict(loss_mask=zero), {}
    for source, members in _by_source(images):
        logits = torch.cat([image.low_res_logits for image in members])
        masks = torch.cat([image.masks for image in members])
        points = torch.cat([image.points for image in members])
        for key, value in head.mask_losses(logits, masks, points).items():
            losses[key] = losses.get(key, 0) + value * (len(masks) / total)
            if source is not None:
                parts[f'{source}/{key.removeprefix("loss_")}'] = value.detach()
    return {**losses, **parts}


def cls_losses(
    head: CLIP2SAMHead,
    classifier: OpenVocabClassifier,
    images: Sequence[TrainedImage],
    zero: Tensor,
) -> dict[str, Tensor]:
    """The loss of the names; of several processes each has to call this, with images or without.

    `loss_cls` is a mean over all processes, unless there are no images; for the log there are
    `acc`, the percentage of objects whose label is the best of the classes it was compared with,
    and both of each source as `{source}/cls` and `{source}/acc`. A source without an object whose
    label counts is left out. `zero` is on the device of the model.
    """
    if not images:
        reduce_mean(zero.detach().float())
        return {}
    embeddings = torch.cat([image.embeddings for image in images])
    labels = torch.cat([image.labels for image in images])
    regions = head.loss_cls(classifier, embeddings, labels, [i.image_labels for i in images])
    least = torch.finfo(regions.weights.dtype).tiny
    weight = zero.new_full((), regions.weights.sum().item(), dtype=torch.float32)
    weight = reduce_mean(weight).clamp(min=least)
    losses = dict(loss_cls=regions.values.sum() / weight)
    counts = (regions.weights > 0).tolist()
    rows = torch.arange(len(labels)).split([len(image.labels) for image in images])
    groups = {source: [] for source, _ in _by_source(images) if source is not None}
    for image, indices in zip(images, rows):
        indices = [row for row in indices.tolist() if counts[row]]
        for source in {image.source, None}:
            groups.setdefault(source, []).extend(indices)
    for source, indices in groups.items():
        if not indices:
            continue
        prefix = '' if source is None else f'{source}/'
        indices = torch.tensor(indices)
        index = to_device(indices, zero.device)
        losses[f'{prefix}acc'] = 100 * regions.correct[index].float().mean()
        if source is not None:
            part = regions.values[index].sum() / regions.weights[indices].sum().item()
            losses[f'{prefix}cls'] = part.detach()
    return losses


def _by_source(images: Sequence[TrainedImage]) -> Iterable[tuple[str | None, list[TrainedImage]]]:
    groups: dict[str | None, list[TrainedImage]] = {}
    for image in images:
        groups.setdefault(image.source, []).append(image)
    return groups.items()
