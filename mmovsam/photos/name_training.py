"""Training of the region namer and of classifier rows for the names of the data sets."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from ..models.detectors import OVSAM
from ..models.detectors.region_crops import encode_crops, pool_crops
from ..models.heads import RegionNamer
from ..vocabulary import TextClassifier, Vocabulary, load_classifier, load_text_encoder
from .augmentation import make_batch
from .data import PhotoData
from .interaction import jittered

LOGIT_SCALE = 20.0
BOX_JITTER = 0.07
"""How far the boxes of crops to learn from are moved, as a share of the box."""
RARITY = 0.4
"""Objects of a name with n objects have the weight `n ** -RARITY`."""


@dataclass
class Regions:
    """Features of M objects with names and `sources`, their data sets.

    Attributes:
        embeddings: `(M, D)`, of the tower, not normalized.
        means: `(M, H)`, of the head.
        bboxes: `(M, 4)` xyxy in pixels of the network's input, or of a crop enlarged to its size.
    """

    embeddings: Tensor
    means: Tensor
    bboxes: Tensor
    names: list[str]
    sources: list[str]


@torch.no_grad()
def read_regions(
    model: OVSAM,
    data: PhotoData,
    batch_size: int = 4,
    amp: bool = False,
    jitter: float = 0.0,
) -> list[Regions]:
    """Features of all large enough objects in their annotated boxes, by a model in eval mode.

    Returns:
        Regions of the photographs; for a model with `region_crop`, also those of crops around the
        boxes, which are moved by `jitter`, see `jittered`.
    """
    views, objects = [[], []], []
    generator = torch.Generator().manual_seed(0)
    for indices in tqdm(torch.arange(len(data)).split(batch_size), desc='reading regions', delay=2):
        batch = make_batch(data, indices, generator, 1000, augment=False, target_stride=1)
        with torch.autocast(data.device.type, torch.bfloat16, enabled=amp):
            features = model.extract_feat(batch.inputs)
        for row in range(len(indices)):
            rows = (batch.image_index == row).nonzero()[:, 0]
            if not len(rows):
                continue
            image, bboxes = features.image(row), batch.bboxes[rows]
            embeddings = model.backbone.embed_regions(image.stage4.float(), bboxes)
            means = model.head.pool_regions(image.region_maps, bboxes)
            views[0].append((embeddings.cpu(), means.cpu(), bboxes.cpu()))
            objects += batch.objects[rows.cpu()].tolist()
            if image.inputs is not None:
                # noise from the host is the same for all devices
                moved = jittered(bboxes.cpu(), jitter, generator).to(bboxes) if jitter else bboxes
                for chunk in moved.split(32):
                    crops = encode_crops(model, image.inputs, chunk)
                    embeddings, means, inner = pool_crops(model, crops, chunk)
                    inner = inner * (model.input_size / crops.size)
                    views[1].append((embeddings.cpu(), means.cpu(), inner.cpu()))
    objects = [data.photographs.objects[index] for index in objects]
    names = [obj['name'] for obj in objects]
    sources = [data.photographs.sources[obj['image']] for obj in objects]
    return [Regions(*map(torch.cat, zip(*view)), names, sources) for view in views if view]


def train_names(
    namer: RegionNamer,
    regions: Regions,
    rows: Tensor,
    labels: Tensor,
    taught: Tensor,
    input_size: int,
    epochs: int = 8,
    batch_size: int = 512,
    lr: float = 1e-3,
    seed: int = 0,
) -> Tensor:
    """Train a namer, in place on the host, together with classifier rows `(K, D)`.

    Labels `(M,)` are -1 for regions to ignore. Only rows that are `taught` `(K,)` learn; ImageNet's
    are fixed. Returns the normalized rows.
    """
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)  # for dropout
    labeled = (labels >= 0).nonzero()[:, 0]
    embeddings, means = regions.embeddings[labeled].float(), regions.means[labeled].float()
    bboxes, labels = regions.bboxes[labeled].float(), labels[labeled]
    counts = torch.bincount(labels, minlength=len(rows)).float()
    weights = counts.clamp(min=1).pow(-RARITY)
    weights = weights / weights[labels].mean()
    absent = counts == 0  # names without regions are masked out of the softmax
    offsets = nn.Parameter(torch.zeros_like(rows))
    namer.cpu().train()
    groups = [dict(params=list(namer.parameters()), weight_decay=0.05)]
    optimizer = torch.optim.AdamW([*groups, dict(params=[offsets], weight_decay=0.0)], lr=lr)
    steps = max(1, epochs * len(labeled) // batch_size)
    learns = (taught & ~absent)[:, None]
    for step in tqdm(range(steps), desc='names', delay=2):
        for group in optimizer.param_groups:
            group['lr'] = lr * 0.5 * (1 + math.cos(math.pi * step / steps))
        index = torch.randint(len(labeled), (batch_size,), generator=generator)
        embedded = namer(embeddings[index], means[index], bboxes[index], input_size)
        logits = LOGIT_SCALE * embedded @ F.normalize(rows + offsets * learns, dim=1).T
        targets = labels[index]
        loss = F.cross_entropy(logits.masked_fill(absent, -1e4), targets, reduction='none')
        optimizer.zero_grad()
        (loss * weights[targets]).mean().backward()
        optimizer.step()
    namer.eval()
    return F.normalize(rows + offsets.detach() * learns, dim=1)


def teach_names(
    namer: RegionNamer,
    views: Sequence[Regions],
    views_of_val: Sequence[Regions] = (),
    without: Collection[str] = (),
    text_file: str = 'mmovsam://photo_text.safetensors',
    names_file: str = 'mmovsam://photo_names.safetensors',
    input_size: int = 512,
    **kwargs,
) -> tuple[TextClassifier, dict[str, float]]:
    """Train a namer in place, with ImageNet's rows fixed and those of the data sets' names learned.

    Args:
        namer: The namer.
        views: Regions to learn from, see `read_regions`; those of `imagenet_samples` are in the
            order of its classes.
        views_of_val: Regions to measure by, in one or two views, whose embeddings are averaged.
        without: Names that are not learned, such as novel ones.
        text_file: Weights of the text encoder, which gives the initial rows.
        names_file: Classifier whose first 1,000 rows are ImageNet's.
        input_size: Input size of the network.
        **kwargs: See `train_names`.

    Returns:
        A classifier of ImageNet's and the learned names, and the accuracy on `views_of_val` among
        its names.
    """
    known = load_classifier(names_file)
    imagenet, bias = F.normalize(known.flat()[0][:1000], dim=1), known.flat_bias()[:1000]
    regions = _concatenate(views)
    sources = zip(regions.names, regions.sources)
    names = {name for name, source in sources if source != 'imagenet_samples'}
    names |= {name for view in views_of_val for name in view.names}
    names = sorted(names - {'object'})
    encoder = load_text_encoder('photo', text_file, names=None)
    texts = Vocabulary(names).build_classifier(*encoder).flat()[0]
    rows = torch.cat((F.normalize(texts, dim=1), imagenet))
    taught = torch.arange(len(rows)) < len(names)
    indices = {name: index for index, name in enumerate(names) if name not in set(without)}
    labels = []
    for view in views:
        imagenet_labels = iter(range(len(names), len(rows)))
        for name, source in zip(view.names, view.sources):
            from_imagenet = source == 'imagenet_samples'
            labels.append(next(imagenet_labels) if from_imagenet else indices.get(name, -1))
    rows = train_names(namer, regions, rows, torch.tensor(labels), taught, input_size, **kwargs)
    scores = {}
    if views_of_val:
        val_names = sorted(set(views_of_val[0].names))
        val_rows = rows[[names.index(name) for name in val_names]]
        embeddings = embed_views(namer, views_of_val, input_size)
        val_labels = torch.tensor([val_names.index(name) for name in views_of_val[0].names])
        scores = accuracy(embeddings @ val_rows.T, val_labels)
    learned = [index for index, name in enumerate(names) if index in set(labels)]
    classifier = TextClassifier(
        torch.cat((imagenet, rows[learned])),
        known.names[:1000] + tuple(names[index] for index in learned),
        counts=(1,) * (1000 + len(learned)),
        bias=torch.cat((bias, torch.zeros(len(learned)))),
    )
    return classifier, scores


@torch.no_grad()
def embed_views(namer: RegionNamer, views: Sequence[Regions], input_size: int) -> Tensor:
    """Embeddings `(M, D)` of regions, normalized: the mean of their views."""
    return F.normalize(
        sum(namer(view.embeddings, view.means, view.bboxes, input_size) for view in views), dim=1
    )


def _concatenate(views: Sequence[Regions]) -> Regions:
    tensors = zip(*((view.embeddings, view.means, view.bboxes) for view in views))
    names = [name for view in views for name in view.names]
    sources = [source for view in views for source in view.sources]
    return Regions(*map(torch.cat, tensors), names, sources)


def accuracy(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Top-1, top-5 and class-balanced top-1 in percent, of logits `(N, K)` and labels `(N,)`."""
    correct = logits.topk(min(5, logits.shape[1]), dim=1).indices == labels[:, None]
    top1, top5 = correct[:, 0].float(), correct.any(1).float()
    balanced = torch.stack([top1[labels == label].mean() for label in labels.unique()])
    means = (top1.mean(), top5.mean(), balanced.mean())
    return dict(zip(('top1', 'top5', 'balanced'), (100 * value.item() for value in means)))
