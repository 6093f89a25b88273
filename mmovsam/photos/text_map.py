"""What photographs taught of names, for the words that are like those."""

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
"""Texts by which the map was fitted first: names of ImageNet's classes, and their definitions."""
RIDGE = 0.2
KINDS, SHARE_OF_KINDS = 10, 70
"""How many kinds of a learned name are texts at least, and of how many there is one."""
STRENGTH_OF_KINDS = 0.1
"""How far a kind moves to its name. Farther, kinds would be found in place of the name itself."""


def imagenet_map(text: PhotoTextModel) -> KernelMap:
    """The map from texts to rows as ImageNet's names alone made it."""
    return text.text_map.first(IMAGENET_TEXTS)


@torch.no_grad()
def learned_map(text: PhotoTextModel, known: TextClassifier) -> KernelMap:
    """What is to be added to `imagenet_map`, by names that photographs taught.

    At a learned name and at its definition the sum is the name's row, and near it at words that
    are like these: a bike is then a bicycle. Kinds of it are moved towards it by a little only.

    Args:
        text: The text side, which takes none of its names for known.
        known: Rows of ImageNet's 1,000 names and of those that were learned.
    """
    names, rows = known.names[1000:], F.normalize(known.flat()[0][1000:], dim=1)
    base = imagenet_map(text)
    if not names:
        return base.first(0)
    kinds = hyponyms_of(names)
    of_imagenet = {noun.wnid for noun in read_synsets('imagenet1k')}
    texts, labels, strengths = [], [], []
    for label, name in enumerate(names):
        others = [noun for noun in kinds[name] if noun.wnid not in of_imagenet]
        most = max(KINDS, len(others) // SHARE_OF_KINDS)
        others = others[:: max(1, len(others) // most)][:most]
        own = {with_article(name), name, *text.phrases(name)}
        of_kinds = {noun.description for noun in others}
        of_kinds |= {with_article(noun.first) for noun in others}
        for each, strength in ((own, 1.0), (of_kinds - own, STRENGTH_OF_KINDS)):
            texts += sorted(each)
            labels += [label] * len(each)
            strengths += [strength] * len(each)
    embeddings = text.encoder(text.tokenizer.word_pieces(texts))
    missing = (rows[labels] - base(embeddings)) * torch.tensor(strengths)[:, None]
    return KernelMap.fit(embeddings, missing, float(base.sharpness), RIDGE)


def write_text_side(
    known: TextClassifier,
    path: str | PathLike,
    source: str | PathLike = 'mmovsam://photo_text.safetensors',
) -> None:
    """Write the text side of `source` anew, with what photographs taught by now.

    See `learned_map`; what they taught before is replaced.
    """
    checkpoint = load_checkpoint_file(source)
    state = dict(checkpoint['state_dict'])
    text = load_photo_text(source)[0]
    text.text_map = imagenet_map(text)  # by which it chooses meanings, too
    for name, part in learned_map(text, known).packed().items():
        if part.ndim:
            state[name] = torch.cat((state[name][:IMAGENET_TEXTS], part))
    save_safetensors(state, path, checkpoint['meta'])
