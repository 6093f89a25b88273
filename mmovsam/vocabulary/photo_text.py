"""The text side of the photo model: text embeddings in the space of an ImageNet classifier.

The space is spanned by the first D right singular vectors of the classifier's centred weight. A
name that the classifier was trained on has its row of the weight as embedding. For any other text
kernel ridge regression predicts the row from the embedding of a small sentence encoder, fitted on
the known names. Other names have rows that were learned from photographs: words with the same
meaning in WordNet have these, too, and their hyponyms move towards them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from os import PathLike

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checkpoints.fingerprint import hash_of
from ..checkpoints.loading import load_checkpoint_file, state_dict_of
from ..checkpoints.quantization import pack_matrix, unpack_matrices
from .names import plain_name, split_name, with_article, without_article
from .sentence_encoder import SentenceEncoder, WordPieceTokenizer
from .text_classifier import TextClassifier, load_classifier
from .wordnet import Synset, load_nouns, may_mean

HEAD_CHANNELS = 32  # of the sentence encoder's attention
FREQUENCY = 0.2
"""Added to the score of the most frequent meaning, half of it to the next one, and so on."""
RIDGE = 0.2
"""Regularizes the regression of rows."""
HYPERNYM_WEIGHT = 1.4
"""Weight of the row of a learned hypernym in a word's embedding, where the word itself has 1."""
MAP_BITS = 6

_POSTMODIFIER = re.compile(
    r' (?:of|with|without|in|on|at|by|for|from|to|that|\w{2,}ing (?:a|an|the)|\w+ed by) '
)
"""Begins what follows the head of a phrase, as in `'glass of wine'`."""
_NOUNS_AND_ID = re.compile(r'(.*?)\s*\((n\d{8})\)')


class KernelMap(nn.Module):
    """Kernel ridge regression with the kernel `exp(sharpness * (cosine - 1))`.

    It maps text embeddings of width C to rows of width D and was fitted on A texts, its anchors.
    """

    def __init__(self, num_anchors: int, text_channels: int, channels: int) -> None:
        super().__init__()
        self.anchors = nn.Parameter(torch.zeros(num_anchors, text_channels))
        self.weight = nn.Parameter(torch.zeros(num_anchors, channels))
        self.sharpness = nn.Parameter(torch.zeros(()))

    @classmethod
    def fit(cls, texts: Tensor, rows: Tensor, sharpness: float, ridge: float) -> KernelMap:
        """Fit normalized texts `(A, C)` to rows `(A, D)`; `ridge` regularizes the regression."""
        text_map = cls(*texts.shape, rows.shape[1]).requires_grad_(False)
        text_map.anchors.copy_(texts)
        text_map.sharpness.fill_(sharpness)
        kernel = text_map.kernel(texts).double()
        kernel.diagonal().add_(ridge)
        text_map.weight.copy_(torch.linalg.solve(kernel, rows.double()))
        return text_map

    def packed(self) -> dict[str, Tensor]:
        """Tensors in 6 bits, as in a file for `load_photo_text`."""
        tensors = {'text_map.sharpness': self.sharpness}
        for name in ('anchors', 'weight'):
            for key, tensor in pack_matrix(getattr(self, name), MAP_BITS).items():
                tensors[f'text_map.{name}.{key}'] = tensor
        return tensors

    def kernel(self, texts: Tensor) -> Tensor:
        """Similarity `(B, A)` of texts `(B, C)` to the anchors."""
        return torch.exp(self.sharpness * (texts @ self.anchors.T - 1))

    def forward(self, texts: Tensor) -> Tensor:
        """Rows `(B, D)`, not normalized, of normalized texts `(B, C)`."""
        return self.kernel(texts) @ self.weight


class PhotoTokenizer:
    """Texts to the row of a known name and the tokens of the sentence encoder.

    The known `names` are in the order of their rows. Names of one row are separated by commas;
    WordNet's id may follow in parentheses, as in `'tench, Tinca tinca (n01440764)'`. A name that
    two rows share belongs to the first. A text has `context_length` tokens at most.
    """

    def __init__(self, word_pieces: WordPieceTokenizer, names: Sequence[str] = ()) -> None:
        self.word_pieces = word_pieces
        self.names = tuple(names)
        self.context_length = word_pieces.context_length
        self._rows = {plain_name(name): row for row, name in enumerate(self.names)}
        self._wnids: list[str | None] = []
        for row, name in enumerate(self.names):
            match = _NOUNS_AND_ID.fullmatch(name)
            nouns, wnid = match.groups() if match else (name, None)
            self._wnids.append(wnid)
            for noun in (plain_name(nouns), *split_name(nouns)):
                if wnid is None or may_mean(noun, wnid):
                    self._rows.setdefault(noun, row)
        self._rows_of_synsets = {wnid: row for row, wnid in enumerate(self._wnids) if wnid}

    def row(self, text: str) -> int | None:
        """The row of a text that is a known name or one of its nouns, else None."""
        return self._rows.get(plain_name(text))

    def row_of_synset(self, wnid: str) -> int | None:
        """The row of the name with this id, else None."""
        return self._rows_of_synsets.get(wnid)

    def synset_of_row(self, row: int) -> str | None:
        """The id of a known name, None for a learned one."""
        return self._wnids[row]

    @cached_property
    def learned_names(self) -> dict[str, str]:
        """The names without an id by the id of their first meaning."""
        learned = {}
        for name, wnid in zip(self.names, self._wnids):
            senses = [] if wnid else load_nouns().senses(plain_name(name))
            for sense in senses[:1]:
                if sense.wnid not in learned or name == sense.nouns[0]:  # not `airplanes`
                    learned[sense.wnid] = name
        return learned

    def __call__(self, texts: Sequence[str], context_length: int | None = None) -> Tensor:
        """Tokens `(B, 1 + context_length)` int64 of B texts.

        The first is 1 + the row of the known name, or 0; the others are ids of word pieces.
        """
        rows = [self.row(text) for text in texts]
        known = torch.tensor([0 if row is None else row + 1 for row in rows], dtype=torch.long)
        tokens = self.word_pieces(texts, context_length)
        return torch.cat((known[:, None], tokens), 1)


class PhotoTextModel(nn.Module):
    """The text model of the photo model, used as CLIP's text tower is.

    `text_map` maps the encoder's sentence embeddings to rows; `known` has a row and a bias for each
    of the tokenizer's known names.
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
        # a part of module_fingerprint, since cached embeddings depend on it
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
        """The sentences whose embeddings are averaged for a lower-case name, instead of templates.

        A known name stands for itself. A noun of WordNet is described by the definition of the
        synset `wnid` or else of its likeliest one, and has the learned name that it is a kind of
        among its sentences; a phrase such as `'red car'` has that of its head. Other text is
        encoded as it is, with an article.
        """
        tokenizer, noun = self.tokenizer, without_article(name)
        row = tokenizer.row(noun) if wnid is None else tokenizer.row_of_synset(wnid)
        if row is not None and (wnid or not tokenizer.synset_of_row(row)):
            return (tokenizer.names[row],)
        if row is not None or wnid is not None:
            sense = load_nouns().synset(wnid or tokenizer.synset_of_row(row))
        else:
            sense = self._likeliest(noun)
        if sense is None:
            sentences = (with_article(name),)
        elif learned := tokenizer.learned_names.get(sense.wnid):
            return (learned,)
        elif (row := tokenizer.row_of_synset(sense.wnid)) is not None:
            sentences = (tokenizer.names[row],)
        elif wnid is not None:
            sentences = (sense.description,)
        else:
            sentences = sense.description, f'{noun}: {sense.definition}', with_article(name)
        hypernym = self._learned_hypernym(noun, sense)
        if hypernym is None:
            return sentences
        return sentences + (hypernym,) * round(HYPERNYM_WEIGHT * len(sentences))

    def _learned_hypernym(self, noun: str, sense: Synset | None) -> str | None:
        """The nearest learned name that a noun with this meaning is a kind of, else None."""
        kinds = []
        if sense is None:
            head = _POSTMODIFIER.split(noun, maxsplit=1)[0].rpartition(' ')[2]
            sense = self._likeliest(head) if head != noun else None
            kinds = [sense]
        if sense is None:
            return None
        learned = self.tokenizer.learned_names
        kinds += load_nouns().hypernyms(sense)
        return next((learned[kind.wnid] for kind in kinds if kind.wnid in learned), None)

    def name_bias(self, phrases: Sequence[str]) -> float:
        """The bias of a name with these phrases, which is added to its cosine similarity."""
        row = self.tokenizer.row(phrases[0]) if len(phrases) == 1 else None
        return 0.0 if row is None else self.bias[row].item()

    def _likeliest(self, name: str) -> Synset | None:
        """The meaning that a noun most likely has in a photograph; None if WordNet has none.

        The score of a meaning is the similarity of its definition to the name, plus the norm of its
        mapped row, which is large where there are known names of its kind, plus a bonus by its
        frequency. Of 512 ambiguous nouns of LVIS, without use of LVIS's meanings, 65% are right,
        52% by the frequency alone.
        """
        senses = load_nouns().senses(name)
        if len(senses) < 2:
            return senses[0] if senses else None
        texts = [name, *(s.definition for s in senses), *(s.description for s in senses)]
        embeddings = self.encoder(self.tokenizer.word_pieces(texts).to(self.rows.device))
        embedding, definitions, descriptions = embeddings.split((1, len(senses), len(senses)))
        similarity = (definitions @ embedding[0]).tolist()
        norms = self.text_map(descriptions).norm(dim=1).tolist()
        bonus = [FREQUENCY / (1 + rank) for rank in range(len(senses))]
        scores = [sum(terms) for terms in zip(similarity, norms, bonus)]
        return senses[scores.index(max(scores))]


def load_photo_text(
    checkpoint: str | PathLike, names: str | PathLike | TextClassifier | None = None
) -> tuple[PhotoTextModel, PhotoTokenizer]:
    """The text model of a photo model, frozen and in eval mode, and its tokenizer.

    Args:
        checkpoint: File of dev/build_photo_text.py.
        names: Text classifier, or its file, with a row and a bias for each known name; None for
            none.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a file holds something else.
    """
    is_file = names is not None and not isinstance(names, TextClassifier)
    known = load_classifier(names) if is_file else names
    if known is not None and (known.names is None or len(known.flat()[0]) != len(known)):
        raise ValueError(f'{names} should have one row for each of its names, and the names')
    state_dict = state_dict_of(load_checkpoint_file(checkpoint))
    try:
        state_dict = unpack_matrices(state_dict)
        words = bytes(state_dict.pop('words').tolist()).decode().split('\n')
        encoder, text_map = _empty_modules(state_dict)
        word_pieces = WordPieceTokenizer(words, len(encoder.positions))
        encoder.padding = word_pieces.padding
        modules = nn.ModuleDict(dict(encoder=encoder, text_map=text_map))
        modules.load_state_dict(state_dict, assign=True)
    except (KeyError, RuntimeError, ValueError, IndexError) as error:
        first = str(error).split('\n')[0]
        raise ValueError(
            f'{checkpoint} is no text side of a photo model ({first}): dev/build_photo_text.py'
        ) from error
    tokenizer = PhotoTokenizer(word_pieces, known.names if known else ())
    model = PhotoTextModel(encoder, text_map, tokenizer, known)
    return model.eval().requires_grad_(False), tokenizer


def _empty_modules(state_dict: dict[str, Tensor]) -> tuple[SentenceEncoder, KernelMap]:
    """Modules of the shapes of a checkpoint, on the meta device."""
    num_tokens, channels = state_dict['encoder.tokens.weight'].shape
    layers = {key.split('.')[2] for key in state_dict if key.startswith('encoder.layers.')}
    anchors, weight = state_dict['text_map.anchors'], state_dict['text_map.weight']
    with torch.device('meta'):
        encoder = SentenceEncoder(
            num_tokens,
            channels,
            num_layers=len(layers),
            num_heads=channels // HEAD_CHANNELS,
            mlp_channels=len(state_dict['encoder.layers.0.mlp_in.weight']),
            context_length=len(state_dict['encoder.positions']),
        )
        return encoder, KernelMap(*anchors.shape, weight.shape[1])
