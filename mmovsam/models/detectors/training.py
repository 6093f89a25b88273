"""CLIP2SAM training: the losses of a batch, with those of each data set for the log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from mmdet.structures import DetDataSample
from mmdet.utils import reduce_mean
from torch import Tensor

from ...layers import at_least_float32, to_device
from ...prompts import sample_training_prompts
from ...randomness import seeded
from ..heads import CLIP2SAMHead, OpenVocabClassifier
from ..losses import ImageLabels
from .features import ImageFeatures
from .prompted_detector import PromptedDetector


class TrainedImage(NamedTuple):
    """Outputs and targets of the N prompted objects of one image."""

    source: str | None
    """Name of the image's data set; None where there is one."""
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


def clip2sam_losses(
    model: PromptedDetector, features: ImageFeatures, data_samples: Sequence[DetDataSample]
) -> dict[str, Tensor]:
    """Losses of a batch of images.

    Samples have `gt_instances` in pixels of the network's input. There are `loss_mask`,
    `loss_dice` and, with names, `loss_cls`, and values for the log: see `mask_losses` and
    `cls_losses`. Objects without masks, such as those of image-level labels, have no mask losses.
    """
    images = []
    for image_features, sample in zip(features.images(), data_samples):
        if len(sample.gt_instances):
            with seeded(sample.get('seed'), features.embedding.device):
                images.append(_train_image(model, image_features, sample))
    # Some parameters are used by one kind of prompt only: with this each has a gradient in
    # every batch, as distributed training expects.
    zero = sum(p.sum() for p in model.parameters() if p.requires_grad) * 0
    losses = mask_losses(model.head, images, zero)
    if model.recognizes:
        losses.update(cls_losses(model.head, model.classifier, images, zero))
    return losses


def _train_image(
    model: PromptedDetector, features: ImageFeatures, sample: DetDataSample
) -> TrainedImage:
    prompts, chosen = sample_training_prompts(sample.gt_instances, **model.train_cfg)
    sample.prompts = prompts  # named if the loss turns out not to be finite
    instances = sample.gt_instances[chosen]
    logits = masks = points = tokens = embeddings = None
    has_masks = 'masks' in instances
    if has_masks or (model.recognizes and model.head.use_label_token):
        logits, _, tokens = model.decode_masks(features, prompts)
    if has_masks:
        masks = to_device(instances.masks.to_tensor(torch.uint8, 'cpu'), logits.device)
        points = model.head.sample_points(logits)
    if model.recognizes:
        bboxes = getattr(instances.bboxes, 'tensor', instances.bboxes)
        embeddings = model.head.embed_regions(features.region_maps, bboxes, tokens)
    labels = sample.gt_instances.labels.tolist()
    image_labels = ImageLabels.of(len(chosen), sample.metainfo, labels)
    source = sample.metainfo.get('source')
    return TrainedImage(source, logits, masks, points, embeddings, instances.labels, image_labels)


def mask_losses(
    head: CLIP2SAMHead, images: Sequence[TrainedImage], zero: Tensor
) -> dict[str, Tensor]:
    """Losses of the masks, where there are any; every process has to call this.

    `loss_mask`, `zero` without a mask, and `loss_dice` are means over all objects with a mask in
    all processes. For the log there are the means of each source, `{source}/mask` and
    `{source}/dice`.
    """
    images = [image for image in images if image.masks is not None]
    total = sum(len(image.masks) for image in images)
    total = reduce_mean(at_least_float32(zero).new_full((), total))
    groups: dict[str | None, list[TrainedImage]] = {}
    for image in images:
        groups.setdefault(image.source, []).append(image)
    losses, logged = dict(loss_mask=zero), {}
    for source, group in groups.items():
        logits = torch.cat([image.low_res_logits for image in group])
        masks = torch.cat([image.masks for image in group])
        points = torch.cat([image.points for image in group])
        for key, value in head.mask_losses(logits, masks, points).items():
            losses[key] = losses.get(key, 0) + value * (len(masks) / total)
            if source is not None:
                logged[f'{source}/{key.removeprefix("loss_")}'] = value.detach()
    return {**losses, **logged}


def cls_losses(
    head: CLIP2SAMHead,
    classifier: OpenVocabClassifier,
    images: Sequence[TrainedImage],
    zero: Tensor,
) -> dict[str, Tensor]:
    """The loss of the names; every process has to call this, with images or without.

    `loss_cls` is a mean over all processes, unless there are no images. For the log there are
    `acc`, the percentage of objects whose label is the best of the classes it was compared with,
    and both of each source as `{source}/cls` and `{source}/acc`, over the objects whose label
    counts. `zero` is on the device of the model.
    """
    if not images:
        reduce_mean(zero.detach().float())
        return {}
    embeddings = torch.cat([image.embeddings for image in images])
    labels = torch.cat([image.labels for image in images])
    regions = head.loss_cls(classifier, embeddings, labels, [i.image_labels for i in images])
    weight = zero.new_full((), regions.weights.sum().item(), dtype=torch.float32)
    weight = reduce_mean(weight).clamp(min=torch.finfo(regions.weights.dtype).tiny)
    losses = dict(loss_cls=regions.values.sum() / weight)
    sources = [image.source for image in images for _ in range(len(image.labels))]
    counted = (regions.weights > 0).nonzero()[:, 0]
    groups: dict[str | None, list[int]] = {}
    for row in counted.tolist():
        groups.setdefault(sources[row], []).append(row)
    for source, rows in groups.items():
        if source is None:
            continue
        rows = torch.tensor(rows)
        index = to_device(rows, zero.device)
        value = regions.values[index].sum() / regions.weights[rows].sum().item()
        losses[f'{source}/cls'] = value.detach()
        losses[f'{source}/acc'] = _accuracy(regions.correct[index])
    if len(counted):
        losses['acc'] = _accuracy(regions.correct[to_device(counted, zero.device)])
    return losses


def _accuracy(correct: Tensor) -> Tensor:
    return 100 * correct.float().mean()
