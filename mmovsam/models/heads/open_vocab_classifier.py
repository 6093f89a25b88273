"""Names for region embeddings: similarity to a text classifier, and the fusion of two opinions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor

from ...layers import at_least_float32, without_autocast
from ...layers.tensors import joined
from ...vocabulary import TextClassifier, find_classifier, novel_flags
from ...vocabulary.text_classifier import check_width

LOGIT_SCALE = math.exp(4.6052)
"""Of the released models; CLIP's own is a hair smaller, 100."""
EXCLUDED = -1000.0
"""Fused logit of a class that is neither base nor novel."""


@MODELS.register_module()
class OpenVocabClassifier(BaseModule):
    """Compare embeddings with the names of K classes, in a vocabulary that can change at any time.

    Args:
        classifier: File of a text classifier, read at first use; or what names classes, such as
            `'lvis'`, of which `text_encoder` builds one at first use, see `find_classifier`. None
            if `set_classifier` is called.
        logit_scale: Factor on the cosine similarities.
        base_alpha: Share of CLIP's opinion on base classes and on the background.
        novel_alpha: Share of CLIP's opinion on novel classes, and on all where there is no split.
        train_novel: Whether novel classes take part in the training, as where labels of whole
            images teach them.
        novel: Names of the novel classes, as `novel_flags` takes them, in place of what the file
            says.
        text_encoder: Arguments of `mmovsam.vocabulary.load_text_encoder`, for a vocabulary that has
            to be built.
    """

    def __init__(
        self,
        classifier: str | None = None,
        logit_scale: float = LOGIT_SCALE,
        base_alpha: float = 0.1,
        novel_alpha: float = 0.9,
        train_novel: bool = False,
        novel: Sequence[str] | None = None,
        text_encoder: Mapping | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.file = classifier
        self.text_encoder = text_encoder
        self.logit_scale = logit_scale
        self.base_alpha = base_alpha
        self.novel_alpha = novel_alpha
        self.train_novel = train_novel
        self.novel = novel
        self.names: tuple[str, ...] | None = None
        self.flags: tuple[bool | None, ...] | None = None  # of novel classes
        # Of each group of classes with equally many names: how many, and how many rows in all.
        self.counts: list[int] = []
        self.sizes: list[int] = []
        # Not in checkpoints: a vocabulary is an input of the model, not a part of it.
        self.register_buffer('embeddings', torch.zeros(0, 0), persistent=False)
        # (M,), added to the cosine similarity of each row of `embeddings`
        self.register_buffer('bias', torch.zeros(0), persistent=False)
        self.register_buffer('order', torch.zeros(0, dtype=torch.long), persistent=False)
        self.register_buffer('alpha', torch.zeros(0), persistent=False)
        self.register_buffer('excluded', torch.zeros(0, dtype=torch.bool), persistent=False)
        # The rest is no buffer: it stays on the host, where losses decide by it.
        self.has_bias = False
        self.has_split = self.has_excluded = False
        # (K + 1,), the background included: what the loss may compare with
        self.trained = torch.zeros(0, dtype=torch.bool)

    @property
    def num_classes(self) -> int:
        """K, without the background.

        Raises:
            ValueError: No vocabulary has been set.
        """
        self._require()
        return len(self.alpha) - 1

    @property
    def has_vocabulary(self) -> bool:
        """Whether there is one, or a file to read it from."""
        return len(self.embeddings) > 0 or self.file is not None

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """The names of the K classes, or None where the vocabulary came without."""
        self._require()
        return self.names

    def set_classifier(self, classifier: TextClassifier) -> None:
        """Change the vocabulary.

        Args:
            classifier: Embeddings of the names of K classes, and which are novel.
        """
        embeddings, counts = classifier.flat()
        rows, self.order, self.counts, self.sizes = _grouped_by_count(counts)
        embeddings = F.normalize(embeddings[rows].float(), dim=-1)
        bias = classifier.flat_bias()[rows].float()
        num_classes = len(counts)
        novel, excluded = torch.zeros(2, num_classes + 1, dtype=torch.bool)
        alpha = torch.full((num_classes + 1,), self.novel_alpha)
        if classifier.novel is not None:
            novel[:-1] = torch.tensor([flag is True for flag in classifier.novel])
            excluded[:-1] = torch.tensor([flag is None for flag in classifier.novel])
            alpha[~novel] = self.base_alpha
        alpha[-1] = self.base_alpha
        device = self.embeddings.device
        self.embeddings, self.order = embeddings.to(device), self.order.to(device)
        self.bias, self.has_bias = bias.to(device), bool(bias.any())
        self.alpha, self.excluded = alpha.to(device), excluded.to(device)
        self.trained = ~(excluded if self.train_novel else novel | excluded)
        self.names = classifier.names
        self.flags = classifier.novel
        self.has_split, self.has_excluded = classifier.novel is not None, bool(excluded.any())

    def with_vocabulary(self, classifier: TextClassifier) -> OpenVocabClassifier:
        """The same comparison in another vocabulary; this one keeps its own."""
        settings = self.logit_scale, self.base_alpha, self.novel_alpha, self.train_novel
        other = OpenVocabClassifier(None, *settings)
        other.to(self.embeddings.device).set_classifier(classifier)
        return other

    def subset(self, labels: Sequence[int], names: Sequence[str]) -> TextClassifier:
        """The text classifier of some of the classes.

        Args:
            labels: The classes, at least one.
            names: What they are to be called.
        """
        self._require()
        rows = [self._rows(int(self.order[label])) for label in labels]
        flat = [row for own in rows for row in own]
        return TextClassifier(
            self.embeddings[flat].cpu(),
            tuple(names),
            self.flags and tuple(self.flags[label] for label in labels),
            tuple(map(len, rows)),
            self.bias[flat].cpu() if self.has_bias else None,
        )

    def _rows(self, place: int) -> range:
        """Where the names of a class are, by its place among the classes in order of groups."""
        start = 0
        for count, size in zip(self.counts, self.sizes):
            if place < size // count:
                return range(start + place, start + size, size // count)
            place, start = place - size // count, start + size
        raise IndexError(f'There is no class at place {place}.')

    def _require(self) -> None:
        if not len(self.embeddings):
            self.set_classifier(self.read())

    def read(self) -> TextClassifier:
        """The text classifier that was given by its file or by what names its classes.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: None was given; it is broken; or the text encoder is missing.
        """
        if self.file is None:
            raise ValueError(
                'The model has no vocabulary. Give its classifier a file '
                "(model.classifier.classifier='...'), or call set_vocabulary first."
            )
        classifier = find_classifier(self.file, self.text_encoder)
        if self.novel is None:
            return classifier
        if classifier.names is None:
            raise ValueError(
                f'novel has names, and {self.file} has none: build it with '
                'tools/build_vocabulary.py.'
            )
        flags = novel_flags(classifier.names, self.novel)
        return dataclasses.replace(classifier, novel=flags)

    def logits(self, embeddings: Tensor) -> Tensor:
        """Scaled similarity `(N, K + 1)` of embeddings `(N, D)` to the best name of each class.

        The names' bias is included; the background, last, is 0.
        """
        embeddings = self._normalized(embeddings)
        groups = self.embeddings.to(embeddings).split(self.sizes)
        with without_autocast(embeddings):  # many names differ in the third digit only
            biases = self.bias.to(embeddings).split(self.sizes)
            scaled = dict(beta=self.logit_scale, alpha=self.logit_scale)
            best = []
            for count, bias, group in zip(self.counts, biases, groups):
                logits = torch.addmm(bias, embeddings, group.T, **scaled)
                best.append(logits if count == 1 else logits.unflatten(1, (count, -1)).amax(1))
        logits = F.pad(joined(best, 1), (0, 1))
        return logits if len(best) == 1 else logits.index_select(1, self.order)

    def _normalized(self, embeddings: Tensor) -> Tensor:
        self._require()
        check_width(self.embeddings.shape[1], embeddings.shape[1])
        return F.normalize(at_least_float32(embeddings), dim=-1)

    def fuse(self, head_logits: Tensor, clip_logits: Tensor, visible: Tensor) -> Tensor:
        """Geometric mean of the head's and CLIP's probabilities (OVSAM, section 3.3), logarithms.

        Both logits and the result are `(N, K + 1)`. Where a mask covers nothing on CLIP's map,
        `visible` `(N,)` is False and CLIP has no say.
        """
        fused = fuse_opinions(head_logits, clip_logits, visible, self.alpha)
        return fused.masked_fill(self.excluded, EXCLUDED) if self.has_excluded else fused

    def probabilities(self, fused_logits: Tensor) -> Tensor:
        """Probabilities `(N, K)` of the classes; the background takes its share and is left out."""
        return fused_logits.softmax(-1)[:, :-1]

    def check_classes(self, classes: Sequence[str]) -> None:
        """Raise a `ValueError` if a data set has other classes, or another order.

        If the vocabulary came without names, their number is all that can be compared.
        """
        remedy = 'Build the vocabulary from the data set: tools/build_vocabulary.py.'
        if len(classes) != self.num_classes and self.names is None:
            raise ValueError(
                f'The data set has {len(classes)} classes and the vocabulary {self.num_classes}. '
                f'{remedy}'
            )
        if self.names is None or tuple(classes) == tuple(self.names):
            return
        first = next(
            (i for i, (a, b) in enumerate(zip(classes, self.names)) if a != b),
            min(len(classes), len(self.names)),
        )
        here, there = (
            repr(names[first]) if first < len(names) else 'nothing'
            for names in (self.names, classes)
        )
        raise ValueError(
            f'The data set has {len(classes)} classes and the vocabulary {len(self.names)}; they '
            f'differ from index {first} on, {there} in the data set and {here} in the '
            f'vocabulary. {remedy}'
        )


def fuse_opinions(
    head_logits: Tensor, clip_logits: Tensor, visible: Tensor, alpha: Tensor
) -> Tensor:
    """`OpenVocabClassifier.fuse` of any columns, with CLIP's share `(K,)` in each."""
    alpha = alpha.to(head_logits) * visible[:, None]
    return head_logits.log_softmax(-1).lerp(clip_logits.log_softmax(-1), alpha)


def _grouped_by_count(counts: Tensor) -> tuple[Tensor, Tensor, list[int], list[int]]:
    """Bring classes that have equally many names, `counts` `(K,)`, together.

    Their names make a dense block, whose maximum is fast. Padding all classes to the most names
    would make eight times as much of ImageNet-22k, most of whose classes have one or two.

    Returns:
        The names' order `(M,)`, by count, then first names, second names, ...; where each class is
        then, and the background last, `(K + 1,)`; and of each group the count and how many names.
    """
    first = counts.cumsum(0) - counts
    rows, classes, sizes = [], [], []
    distinct = counts.unique().tolist()
    for count in distinct:
        members = (counts == count).nonzero()[:, 0]
        rows.append((first[members] + torch.arange(count)[:, None]).flatten())
        classes.append(members)
        sizes.append(len(rows[-1]))
    background = counts.new_tensor([len(counts)])
    return torch.cat(rows), torch.cat((*classes, background)).argsort(), distinct, sizes
