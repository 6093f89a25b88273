"""Training of names: of the region namer, and of rows for the names of the data sets."""

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
from .text_map import imagenet_map

LOGIT_SCALE = 20.0
RARITY = 0.4
"""How much more objects of rare names count: a name's weight is its number to the minus this."""


@dataclass
class Regions:
    """What a model sees of M objects of some names and data sets, their `sources`.

    There are embeddings `(M, D)`, the tower's, not normalized; means `(M, H)`, the head's; and
    boxes `(M, 4)` xyxy in pixels of the network's input, or of a crop enlarged to its size.
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
    """What a model in eval mode sees of all objects that are large enough, with annotated boxes.

    Returns:
        In the photographs, and for a model that looks at crops the same regions in those, with
        boxes that are moved, see `jittered`.
    """
    views, objects = [[], []], []
    generator = torch.Generator().manual_seed(0)
    every = torch.arange(len(data))
    for indices in tqdm(every.split(batch_size), desc='reading regions', delay=2):
        batch = make_batch(data, indices, generator, 1000, augment=False, target_stride=1)
        with torch.autocast(data.device.type, torch.bfloat16, enabled=amp):
            features = model.extract_feat(batch.inputs)
        for place in range(len(indices)):
            rows = (batch.image_index == place).nonzero()[:, 0]
            if not len(rows):
                continue
            image, bboxes = features.image(place), batch.bboxes[rows]
            embeddings = model.backbone.embed_regions(image.stage4.float(), bboxes)
            means = model.head.pool_regions(image.region_maps, bboxes)
            views[0].append((embeddings.cpu(), means.cpu(), bboxes.cpu()))
            objects += batch.objects[rows.cpu()].tolist()
            if image.inputs is not None:
                # drawn on the host, alike for all devices
                moved = jittered(bboxes.cpu(), jitter, generator).to(bboxes) if jitter else bboxes
                for part in moved.split(32):
                    crops = encode_crops(model, image.inputs, part)
                    *seen, inner = pool_crops(model, crops, part)
                    inner = inner * (model.input_size / crops.size)
                    views[1].append(tuple(each.cpu() for each in (*seen, inner)))
    about = data.photographs
    chosen = [about.objects[index] for index in objects]
    names = [each['name'] for each in chosen]
    sources = [about.sources[each['image']] for each in chosen]
    return [Regions(*map(torch.cat, zip(*parts)), names, sources) for parts in views if parts]


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
    """Teach a namer, in place, what regions are called, and names where they lie; on the host.

    Labels `(M,)` are -1 for a region that teaches nothing. Of the rows `(K, D)` of all names,
    `taught` `(K,)` may move; the others, ImageNet's, are right as they are. Gives the rows,
    normalized.
    """
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)  # of the dropout
    known = (labels >= 0).nonzero()[:, 0]
    embeddings, means = regions.embeddings[known].float(), regions.means[known].float()
    bboxes, labels = regions.bboxes[known].float(), labels[known]
    counts = torch.bincount(labels, minlength=len(rows)).float()
    weights = counts.clamp(min=1).pow(-RARITY)
    weights = weights / weights[labels].mean()
    # names that no region has are not compared with
    absent = counts == 0
    moved = nn.Parameter(torch.zeros_like(rows))
    namer.cpu().train()
    groups = [dict(params=list(namer.parameters()), weight_decay=0.05)]
    optimizer = torch.optim.AdamW([*groups, dict(params=[moved], weight_decay=0.0)], lr=lr)
    steps = max(1, epochs * len(known) // batch_size)
    mobile = (taught & ~absent)[:, None]
    for step in tqdm(range(steps), desc='names', delay=2):
        for group in optimizer.param_groups:
            group['lr'] = lr * 0.5 * (1 + math.cos(math.pi * step / steps))
        index = torch.randint(len(known), (batch_size,), generator=generator)
        embedded = namer(embeddings[index], means[index], bboxes[index], input_size)
        logits = LOGIT_SCALE * embedded @ F.normalize(rows + moved * mobile, dim=1).T
        wanted = labels[index]
        loss = F.cross_entropy(logits.masked_fill(absent, -1e4), wanted, reduction='none')
        optimizer.zero_grad()
        (loss * weights[wanted]).mean().backward()
        optimizer.step()
    namer.eval()
    return F.normalize(rows + moved.detach() * mobile, dim=1)


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
    """Train a namer, in place, with ImageNet's names as they are and those of the data sets
    learned.

    Args:
        namer: The namer.
        views: Regions to learn from, see `read_regions`; those of `imagenet_samples` are in the
            order of its classes.
        views_of_val: The same regions in one or two views, to measure by the mean of what is said.
        without: Names that are not taught, such as novel ones.
        text_file: Weights of the text side, where the names of the data sets begin.
        names_file: Known names, of which ImageNet's 1,000 come first.
        input_size: Of the network.
        **kwargs: As for `train_names`.

    Returns:
        Rows of all known names, and the accuracy on `views_of_val` among its names.
    """
    known = load_classifier(names_file)
    imagenet, bias = F.normalize(known.flat()[0][:1000], dim=1), known.flat_bias()[:1000]
    every = _joined(views)
    named = zip(every.names, every.sources)
    names = {name for name, source in named if source != 'imagenet_samples'}
    names |= {name for regions in views_of_val for name in regions.names}
    names = sorted(names - {'object'})
    encoder = load_text_encoder('photo', text_file, names=None)
    encoder[0].text_map = imagenet_map(encoder[0])  # not what earlier photographs taught
    texts = Vocabulary(names).build_classifier(*encoder).flat()[0]
    rows = torch.cat((F.normalize(texts, dim=1), imagenet))
    taught = torch.arange(len(rows)) < len(names)
    places = {name: index for index, name in enumerate(names) if name not in set(without)}
    labels = []
    for regions in views:
        of_imagenet = iter(range(len(names), len(rows)))
        for name, source in zip(regions.names, regions.sources):
            known_class = source == 'imagenet_samples'
            labels.append(next(of_imagenet) if known_class else places.get(name, -1))
    rows = train_names(namer, every, rows, torch.tensor(labels), taught, input_size, **kwargs)
    scores = {}
    if views_of_val:
        chosen = sorted(set(views_of_val[0].names))
        val_rows = rows[[names.index(name) for name in chosen]]
        with torch.no_grad():
            embeddings = sum(
                namer(regions.embeddings, regions.means, regions.bboxes, input_size)
                for regions in views_of_val
            )
        wanted = torch.tensor([chosen.index(name) for name in views_of_val[0].names])
        scores = accuracy(F.normalize(embeddings, dim=1) @ val_rows.T, wanted)
    learned = [index for index, name in enumerate(names) if index in set(labels)]
    classifier = TextClassifier(
        torch.cat((imagenet, rows[learned])),
        known.names[:1000] + tuple(names[index] for index in learned),
        counts=(1,) * (1000 + len(learned)),
        bias=torch.cat((bias, torch.zeros(len(learned)))),
    )
    return classifier, scores


def _joined(views: Sequence[Regions]) -> Regions:
    tensors = zip(*((each.embeddings, each.means, each.bboxes) for each in views))
    names = [name for each in views for name in each.names]
    sources = [source for each in views for source in each.sources]
    return Regions(*map(torch.cat, tensors), names, sources)


def accuracy(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Top-1, top-5 and the mean of top-1 over classes, in percent, of `(N, K)` and `(N,)`."""
    best = logits.topk(min(5, logits.shape[1]), dim=1).indices
    first = (best[:, 0] == labels).float()
    among = (best == labels[:, None]).any(1).float()
    classes = [first[labels == label].mean() for label in labels.unique()]
    means = (first.mean(), among.mean(), torch.stack(classes).mean())
    return dict(zip(('top1', 'top5', 'balanced'), (100 * value.item() for value in means)))
