"""Words to names in the space of an image classifier: known names have rows, others are mapped.

The space is that of an ImageNet classifier: the first D right singular vectors of its centred
weight. A name that the classifier was trained on has its row of the weight there. Any other text is
read by a small sentence encoder, and kernel ridge regression over the known names takes the
sentence's embedding to where its row would be. Added to that is what the same regression says of
names that photographs taught.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from os import PathLike

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checkpoints.fingerprint import hash_of
from ..checkpoints.loading import load_checkpoint_file, state_dict_of
from .names import plain_name, split_name
from .packing import pack_matrix, unpack_matrices
from .sentence_encoder import SentenceEncoder, WordPieceTokenizer
from .text_classifier import TextClassifier, load_classifier
from .wordnet import Synset, load_nouns, may_mean

HEAD_CHANNELS = 32  # of the sentence encoder's attention
NAME_ORDER = 0.2
"""How much it speaks for a meaning that a name is the first of its names, in units of cosine."""
MAP_BITS = 6
ARTICLES = ('a ', 'an ', 'the ')

_NOUNS_AND_ID = re.compile(r'(.*?)\s*\((n\d{8})\)')


class KernelMap(nn.Module):
    """Kernel ridge regression with an RBF kernel, `exp(sharpness * (cosine - 1))`.

    It maps embeddings of texts, of width C, to rows of width D, as it was fitted on A texts.
    """

    def __init__(self, num_anchors: int, text_channels: int, channels: int) -> None:
        super().__init__()
        self.anchors = nn.Parameter(torch.zeros(num_anchors, text_channels))
        self.weight = nn.Parameter(torch.zeros(num_anchors, channels))
        self.sharpness = nn.Parameter(torch.zeros(()))

    @classmethod
    def fit(cls, texts: Tensor, rows: Tensor, sharpness: float, ridge: float) -> KernelMap:
        """The map of least squared error from normalized texts `(A, C)` to rows `(A, D)`.

        The `ridge` that regularizes it is added to the kernel matrix's diagonal.
        """
        fitted = cls(*texts.shape, rows.shape[1]).requires_grad_(False)
        fitted.anchors.copy_(texts)
        fitted.sharpness.fill_(sharpness)
        kernel = fitted.kernel(texts).double()
        kernel.diagonal().add_(ridge)
        fitted.weight.copy_(torch.linalg.solve(kernel, rows.double()))
        return fitted

    def first(self, count: int) -> KernelMap:
        """The map by the first texts alone, to which the others were added."""
        other = KernelMap(count, self.anchors.shape[1], self.weight.shape[1]).requires_grad_(False)
        other.load_state_dict(
            dict(self.state_dict(), anchors=self.anchors[:count], weight=self.weight[:count])
        )
        return other

    def packed(self) -> dict[str, Tensor]:
        """Its tensors as `load_photo_text` reads them from a file, in 6 bits."""
        tensors = {'text_map.sharpness': self.sharpness}
        for name in ('anchors', 'weight'):
            for key, part in pack_matrix(getattr(self, name), MAP_BITS).items():
                tensors[f'text_map.{name}.{key}'] = part
        return tensors

    def kernel(self, texts: Tensor) -> Tensor:
        """Similarity `(B, A)` of texts `(B, C)` to the anchors."""
        return torch.exp(self.sharpness * (texts @ self.anchors.T - 1))

    def forward(self, texts: Tensor) -> Tensor:
        """Rows `(B, D)`, not normalized, of texts `(B, C)`, which are."""
        return self.kernel(texts) @ self.weight


def with_article(name: str) -> str:
    """A name as that of a thing: `'a cup'`."""
    return name if name.startswith(ARTICLES) else f'a {name}'


class PhotoTokenizer:
    """Texts to tokens of the sentence encoder, preceded by which known name a text is.

    The known `names` are in the order of their rows. Names of one row are separated by commas;
    WordNet's id may follow in parentheses, as in `'tench, Tinca tinca (n01440764)'`. A name that
    two rows share is the first one's. A text has `context_length` tokens at most.
    """

    def __init__(self, word_pieces: WordPieceTokenizer, names: Sequence[str] = ()) -> None:
        self.word_pieces = word_pieces
        self.names = tuple(names)
        self.context_length = word_pieces.context_length
        self._rows = {plain_name(name): row for row, name in enumerate(self.names)}
        self._meanings: dict[str, int] = {}
        for row, name in enumerate(self.names):
            nouns = name
            if found := _NOUNS_AND_ID.fullmatch(name):
                nouns, wnid = found.groups()
                self._meanings[wnid] = row
            self._rows.setdefault(plain_name(nouns), row)
            first, *others = split_name(nouns)
            for noun in (first, *others):
                if may_mean(noun, first):
                    self._rows.setdefault(noun, row)

    def row(self, text: str) -> int | None:
        """Which known name a text is, as given or by any of its nouns; None if it is none."""
        return self._rows.get(plain_name(text))

    def row_of_synset(self, wnid: str) -> int | None:
        """Which known name has this meaning; None if none has."""
        return self._meanings.get(wnid)

    def __call__(self, texts: Sequence[str], context_length: int | None = None) -> Tensor:
        """Tokens `(B, 1 + context_length)` int64 of B texts.

        The first is the row of the known name plus one, or 0; the others are the ids of the word
        pieces, as many as `context_length` or by default the tokenizer's own.
        """
        rows = [self.row(text) for text in texts]
        known = torch.tensor([0 if row is None else row + 1 for row in rows], dtype=torch.long)
        tokens = self.word_pieces(texts, context_length)
        return torch.cat((known[:, None], tokens), 1)


class PhotoTextModel(nn.Module):
    """The text side of a model whose images lie in the space of an ImageNet classifier.

    The encoder makes embeddings of word pieces, the map makes rows of these; `known` has the rows
    of the tokenizer's known names, one for each, with their bias.
    """

    def __init__(
        self,
        encoder: SentenceEncoder,
        text_map: KernelMap,
        tokenizer: PhotoTokenizer,
        known: TextClassifier | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.text_map = text_map
        self.tokenizer = tokenizer
        channels = text_map.weight.shape[1]
        rows, bias = torch.zeros(0, channels), torch.zeros(0)
        if known is not None:
            rows, bias = known.flat()[0], known.flat_bias()
        if rows.shape[1] != channels:
            raise ValueError(
                f'known names have width {rows.shape[1]} and the text model {channels}: of another?'
            )
        self.register_buffer('rows', F.normalize(rows, dim=-1), persistent=False)
        self.register_buffer('bias', bias, persistent=False)
        # read by module_fingerprint: embeddings in the cache depend on it
        self.names_hash = hash_of(tokenizer.names)

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Embeddings `(B, D)`, L2 normalized, of tokens `(B, 1 + L)` of `PhotoTokenizer`."""
        known = tokens[:, 0] > 0
        outputs = self.text_map.weight.new_empty(len(tokens), self.text_map.weight.shape[1])
        outputs[known] = self.rows[tokens[known, 0] - 1]
        if not bool(known.all()):
            texts = self.encoder(tokens[~known, 1:])
            outputs[~known] = F.normalize(self.text_map(texts), dim=-1)
        return outputs

    def phrases(self, name: str, wnid: str | None = None) -> tuple[str, ...]:
        """The sentences whose embeddings are averaged for a name, in place of templates.

        A known name stands for itself. A noun that WordNet knows is described by its definition, of
        several meanings by the likeliest one's, or by that of WordNet's id. Other text is read by
        itself, with an article, which says that it is a thing. Names are in lower case and have
        spaces between their words.
        """
        row = sense = None
        if wnid is None:
            row = self.tokenizer.row(name)
            sense = self._likeliest(name) if row is None else None
        else:
            sense = load_nouns().synset(wnid)
        if sense is not None:
            row = self.tokenizer.row_of_synset(sense.wnid)
        if row is not None:
            return (self.tokenizer.names[row],)
        if sense is None:
            return (with_article(name),)
        if wnid is not None:
            return (sense.description,)
        return sense.description, f'{name}: {sense.definition}', with_article(name)

    def name_bias(self, phrases: Sequence[str]) -> float:
        """What is added to the cosine similarity of a name that `phrases` stand for."""
        row = self.tokenizer.row(phrases[0]) if len(phrases) == 1 else None
        return 0.0 if row is None else self.bias[row].item()

    def _likeliest(self, name: str) -> Synset | None:
        """The meaning that a name most likely has in a photograph; None if it is no known noun.

        Three things speak for a meaning: that its definition is similar to the name, that the name
        comes early among its names, and that the map has an opinion of it, which means that there
        are known names of its kind. Of 83 names of COCO and LVIS, on which this was chosen, 67 are
        right so, and 59 by the first alone.
        """
        senses = load_nouns().senses(name)
        if len(senses) < 2:
            return senses[0] if senses else None
        texts = [name, *(s.definition for s in senses), *(s.description for s in senses)]
        embeddings = self.encoder(self.tokenizer.word_pieces(texts).to(self.rows.device))
        embedding, definitions, descriptions = embeddings.split((1, len(senses), len(senses)))
        similarity = (definitions @ embedding[0]).tolist()
        opinion = self.text_map(descriptions).norm(dim=1).tolist()
        prominence = [NAME_ORDER / (1 + sense.position(name)) for sense in senses]
        scores = [sum(each) for each in zip(similarity, opinion, prominence)]
        return senses[scores.index(max(scores))]


def load_photo_text(
    checkpoint: str | PathLike, names: str | PathLike | None = None
) -> tuple[PhotoTextModel, PhotoTokenizer]:
    """The text side of a photo model, frozen and in eval mode, and its tokenizer.

    Args:
        checkpoint: File of dev/build_photo_text.py.
        names: File of a text classifier with a row for each known name and a bias for each, see
            `save_classifier`; None if no name is known.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a file holds something else.
    """
    known = None if names is None else load_classifier(names)
    if known is not None and (known.names is None or len(known.flat()[0]) != len(known)):
        raise ValueError(f'{names} should have one row for each of its names, and the names')
    state = state_dict_of(load_checkpoint_file(checkpoint))
    try:
        state = unpack_matrices(state)
        words = bytes(state.pop('words').tolist()).decode().split('\n')
        encoder, text_map = _empty(state)
        word_pieces = WordPieceTokenizer(words, len(encoder.positions))
        encoder.padding = word_pieces.padding
        parts = nn.ModuleDict(dict(encoder=encoder, text_map=text_map))
        parts.load_state_dict(state, assign=True)
    except (KeyError, RuntimeError, ValueError, IndexError) as error:
        first = str(error).split('\n')[0]
        raise ValueError(
            f'{checkpoint} is no text side of a photo model ({first}): dev/build_photo_text.py'
        ) from error
    tokenizer = PhotoTokenizer(word_pieces, known.names if known else ())
    model = PhotoTextModel(encoder, text_map, tokenizer, known)
    return model.eval().requires_grad_(False), tokenizer


def _empty(state: dict[str, Tensor]) -> tuple[SentenceEncoder, KernelMap]:
    """Modules of the shapes of a checkpoint."""
    num_tokens, channels = state['encoder.tokens.weight'].shape
    layers = {key.split('.')[2] for key in state if key.startswith('encoder.layers.')}
    heads, mlp_channels = channels // HEAD_CHANNELS, len(state['encoder.layers.0.mlp_in.weight'])
    sizes = len(layers), heads, mlp_channels, len(state['encoder.positions'])
    with torch.device('meta'):
        encoder = SentenceEncoder(num_tokens, channels, *sizes)
        anchors, weight = state['text_map.anchors'], state['text_map.weight']
        return encoder, KernelMap(*anchors.shape, weight.shape[1])
