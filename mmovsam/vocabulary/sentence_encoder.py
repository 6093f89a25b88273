"""A small BERT sentence encoder and its tokenizer."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PAD, UNKNOWN, START, END = '[PAD]', '[UNK]', '[CLS]', '[SEP]'
_LONGEST_WORD = 100  # characters; a longer word is unknown, as in BERT
_CONTINUED = '##'
# CJK ideographs, each a word of its own
_IDEOGRAPHS = (
    (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF),
    (0x20000, 0x2A6DF), (0x2A700, 0x2CEAF), (0x2F800, 0x2FA1F),
)  # fmt: skip


class SentenceEncoder(nn.Module):
    """BERT (Devlin et al., 2019) with mean pooling (Reimers and Gurevych, 2019), for inference.

    The defaults are those of all-MiniLM-L6-v2; `padding` is the id of the padding token.
    """

    def __init__(
        self,
        num_tokens: int = 30522,
        channels: int = 384,
        num_layers: int = 6,
        num_heads: int = 12,
        mlp_channels: int = 1536,
        context_length: int = 128,
        padding: int = 0,
    ) -> None:
        super().__init__()
        self.padding = padding
        self.tokens = nn.Embedding(num_tokens, channels)
        self.positions = nn.Parameter(torch.zeros(context_length, channels))
        self.norm = nn.LayerNorm(channels, eps=1e-12)
        self.layers = nn.ModuleList(
            EncoderLayer(channels, num_heads, mlp_channels) for _ in range(num_layers)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """L2 normalized embeddings `(B, C)` of tokens `(B, L)` with `padding` at their ends."""
        lengths = (tokens != self.padding).sum(1)
        order = lengths.argsort()  # batches of similar lengths need little padding
        batches = (tokens[rows, : int(lengths[rows[-1]])] for rows in order.split(32))
        pooled = torch.cat([self._pooled(batch) for batch in batches])
        return F.normalize(pooled[order.argsort()], dim=-1)

    def _pooled(self, tokens: Tensor) -> Tensor:
        valid = tokens != self.padding
        outputs = self.norm(self.tokens(tokens) + self.positions[: tokens.shape[1]])
        mask = None if bool(valid.all()) else valid[:, None, None]  # faster without a mask
        for layer in self.layers:
            outputs = layer(outputs, mask)
        weights = valid.to(outputs) / valid.sum(1, keepdim=True)
        return (outputs * weights[..., None]).sum(1)


class EncoderLayer(nn.Module):
    """Self-attention and an MLP, each normalized after its residual connection."""

    def __init__(self, channels: int, num_heads: int, mlp_channels: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        self.attention_norm = nn.LayerNorm(channels, eps=1e-12)
        self.mlp_in = nn.Linear(channels, mlp_channels)
        self.mlp_out = nn.Linear(mlp_channels, channels)
        self.mlp_norm = nn.LayerNorm(channels, eps=1e-12)

    def forward(self, inputs: Tensor, mask: Tensor | None) -> Tensor:
        """Outputs of inputs `(B, L, C)`; `mask` `(B, 1, 1, L)` is true for tokens that count."""
        qkv = self.qkv(inputs).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(*qkv, attn_mask=mask)
        hidden = self.attention_norm(inputs + self.out(attended.transpose(1, 2).flatten(2)))
        return self.mlp_norm(hidden + self.mlp_out(F.gelu(self.mlp_in(hidden))))


class WordPieceTokenizer:
    """WordPiece tokenizer of BERT's uncased models (Devlin et al., 2019).

    Text is lower-cased, accents are removed, and punctuation marks and ideographs become words.
    Each word is greedily split into the longest pieces of the vocabulary `words`, which is in the
    order of ids and marks pieces that continue a word by `##`; a word that cannot be split is one
    unknown token. A text has at most `context_length` tokens, start and end included.
    """

    def __init__(self, words: Sequence[str], context_length: int = 128) -> None:
        self.context_length = context_length
        self._ids = {word: index for index, word in enumerate(words)}
        missing = [word for word in (PAD, UNKNOWN, START, END) if word not in self._ids]
        if missing:
            raise ValueError(f'a WordPiece vocabulary needs {missing}; is this list one?')
        self.padding = self._ids[PAD]
        self._word_ids = lru_cache(maxsize=4096)(self._split)

    def ids(self, text: str) -> list[int]:
        """The ids of one text, without start, end, limit or padding."""
        return [index for word in split_words(text) for index in self._word_ids(word)]

    def __call__(self, texts: Sequence[str], context_length: int | None = None) -> Tensor:
        """Token ids `(B, context_length)` int64 of B texts, truncated and padded at their ends."""
        length = self.context_length if context_length is None else context_length
        tokens = torch.full((len(texts), length), self.padding)
        for row, text in zip(tokens, texts):
            ids = [self._ids[START], *self.ids(text)[: length - 2], self._ids[END]]
            row[: len(ids)] = torch.tensor(ids)
        return tokens

    def _split(self, word: str) -> tuple[int, ...]:
        if len(word) > _LONGEST_WORD:
            return (self._ids[UNKNOWN],)
        pieces, start = [], 0
        while start < len(word):
            prefix = _CONTINUED if start else ''
            ends = range(len(word), start, -1)
            end = next((end for end in ends if prefix + word[start:end] in self._ids), None)
            if end is None:
                return (self._ids[UNKNOWN],)
            pieces.append(self._ids[prefix + word[start:end]])
            start = end
        return tuple(pieces)


def split_words(text: str) -> list[str]:
    """The words of a text, lower-cased, without accents; punctuation marks count as words."""
    # Accents are separate characters after NFD; lower-casing may bring new ones (İ).
    text = unicodedata.normalize('NFD', text).lower()
    return ''.join(map(_spaced, text)).split()


@lru_cache(maxsize=4096)
def _spaced(char: str) -> str:
    """What a character becomes before the text is split at white space."""
    category = unicodedata.category(char)
    if category == 'Mn' or char == '\ufffd':
        return ''
    if char in '\t\n\r' or category == 'Zs':
        return ' '
    if category in ('Cc', 'Cf', 'Co', 'Cs'):  # control characters
        return ''
    symbol = '!' <= char <= '~' and not char.isalnum()  # all of ASCII's, such as $ and ^
    ideograph = any(first <= ord(char) <= last for first, last in _IDEOGRAPHS)
    return f' {char} ' if symbol or ideograph or category[0] == 'P' else char
