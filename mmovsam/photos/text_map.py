"""The text map with corrections for the names that photographs taught."""

from __future__ import annotations

from os import PathLike

import torch
import torch.nn.functional as F

from ..checkpoints import save_safetensors
from ..checkpoints.loading import load_checkpoint_file
from ..vocabulary import TextClassifier, load_photo_text
from ..vocabulary.photo_text import KernelMap, PhotoTextModel, with_article
from ..vocabulary.related_nouns import hyponyms_of
from ..vocabulary.wordnet import read_synsets

IMAGENET_TEXTS = 2000
"""Texts on which the map was fitted first: names of ImageNet's classes, and their definitions."""
RIDGE = 0.2
KINDS, SHARE_OF_KINDS = 10, 70
"""At least so many hyponyms of a learned name are texts, and one of every so many."""
STRENGTH_OF_KINDS = 0.1
"""How far a hyponym moves to its name. Farther, it would be predicted in place of the name."""


def imagenet_map(text: PhotoTextModel) -> KernelMap:
    """The map from text embeddings to classifier rows, as fitted on ImageNet's names alone."""
    return text.text_map.first(IMAGENET_TEXTS)


@torch.no_grad()
def learned_map(text: PhotoTextModel, known: TextClassifier) -> KernelMap:
    """The correction of `imagenet_map` for the names that photographs taught.

    At a learned name and its definition the sum of both maps is the name's row, and close to it at
    similar words, so that a bike is a bicycle. Its hyponyms move only slightly.

    Args:
        text: The text encoder, without learned names.
        known: Rows of ImageNet's 1,000 names, then of the learned ones.
    """
    names, rows = known.names[1000:], F.normalize(known.flat()[0][1000:], dim=1)
    base = imagenet_map(text)
    if not names:
        return base.first(0)
    kinds = hyponyms_of(names)
    imagenet_ids = {noun.wnid for noun in read_synsets('imagenet1k')}
    texts, labels, strengths = [], [], []
    for label, name in enumerate(names):
        hyponyms = [noun for noun in kinds[name] if noun.wnid not in imagenet_ids]
        count = max(KINDS, len(hyponyms) // SHARE_OF_KINDS)
        hyponyms = hyponyms[:: max(1, len(hyponyms) // count)][:count]
        name_texts = {with_article(name), name, *text.phrases(name)}
        kind_texts = {noun.description for noun in hyponyms}
        kind_texts |= {with_article(noun.first) for noun in hyponyms}
        kind_texts -= name_texts
        for phrases, strength in ((name_texts, 1.0), (kind_texts, STRENGTH_OF_KINDS)):
            texts += sorted(phrases)
            labels += [label] * len(phrases)
            strengths += [strength] * len(phrases)
    embeddings = text.encoder(text.tokenizer.word_pieces(texts))
    residuals = (rows[labels] - base(embeddings)) * torch.tensor(strengths)[:, None]
    return KernelMap.fit(embeddings, residuals, float(base.sharpness), RIDGE)


def write_text_side(
    known: TextClassifier,
    path: str | PathLike,
    source: str | PathLike = 'mmovsam://photo_text.safetensors',
) -> None:
    """Write the text encoder of `source` to `path` with the `learned_map` of `known` in its map.

    An earlier learned map is replaced.
    """
    checkpoint = load_checkpoint_file(source)
    state = dict(checkpoint['state_dict'])
    text = load_photo_text(source)[0]
    text.text_map = imagenet_map(text)  # which chooses the meanings of names, too
    for name, value in learned_map(text, known).packed().items():
        if value.ndim:
            state[name] = torch.cat((state[name][:IMAGENET_TEXTS], value))
    save_safetensors(state, path, checkpoint['meta'])
