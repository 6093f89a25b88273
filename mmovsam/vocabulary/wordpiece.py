"""BERT's WordPiece tokenizer, for lower-cased text."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

PAD, UNKNOWN, START, END = '[PAD]', '[UNK]', '[CLS]', '[SEP]'
_LONGEST_WORD = 100  # characters; a longer word is unknown, as in BERT
_CONTINUED = '##'
# CJK ideographs, each a word of its own
_IDEOGRAPHS = (
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2CEAF),
    (0x2F800, 0x2FA1F),
)


class WordPieceTokenizer:
    """Texts to token ids, as BERT's uncased models read them (Devlin et al., 2019).

    Text is lower-cased, accents are taken off, punctuation marks and ideographs become words of
    their own, and each word is cut into the longest pieces that the vocabulary has, from its start
    on. A word that cannot be cut so is one unknown token.

    Args:
        words: The pieces in the order of their ids; those that continue a word begin with `##`.
        context_length: Most tokens of a text, its start and end tokens included.

    Attributes:
        padding: The id that fills up shorter texts.

    Raises:
        ValueError: If one of the special tokens is not among the pieces.
    """

    def __init__(self, words: Sequence[str], context_length: int = 128) -> None:
        self.context_length = context_length
        self._ids = {word: index for index, word in enumerate(words)}
        missing = [word for word in (PAD, UNKNOWN, START, END) if word not in self._ids]
        if missing:
            raise ValueError(f'a WordPiece vocabulary needs {missing}; is this list one?')
        self.padding = self._ids[PAD]
        self._word_ids = lru_cache(maxsize=4096)(self._cut)

    def ids(self, text: str) -> list[int]:
        """The ids of one text, without start, end, limit or padding."""
        return [index for word in split_words(text) for index in self._word_ids(word)]

    def __call__(self, texts: Sequence[str], context_length: int | None = None) -> Tensor:
        """Token ids of several texts.

        Args:
            texts: B texts.
            context_length: Most tokens of a text, in place of the tokenizer's own.

        Returns:
            `(B, context_length)` int64. A text that is longer is cut off at its end.
        """
        length = self.context_length if context_length is None else context_length
        tokens = torch.full((len(texts), length), self.padding)
        for row, text in zip(tokens, texts):
            inner = self.ids(text)[: length - 2]
            ids = [self._ids[START], *inner, self._ids[END]]
            row[: len(ids)] = torch.tensor(ids)
        return tokens

    def _cut(self, word: str) -> tuple[int, ...]:
        if len(word) > _LONGEST_WORD:
            return (self._ids[UNKNOWN],)
        pieces, start = [], 0
        while start < len(word):
            prefix = _CONTINUED if start else ''
            for end in range(len(word), start, -1):
                piece = self._ids.get(prefix + word[start:end])
                if piece is not None:
                    break
            else:
                return (self._ids[UNKNOWN],)
            pieces.append(piece)
            start = end
        return tuple(pieces)


def split_words(text: str) -> list[str]:
    """The words of a text, lower-cased, without accents; punctuation marks are words."""
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
    if _is_punctuation(char, category) or _is_ideograph(char):
        return f' {char} '
    return char


def _is_punctuation(char: str, category: str) -> bool:
    symbol = '!' <= char <= '~' and not char.isalnum()  # of ASCII all signs count, such as $ and ^
    return symbol or category[0] == 'P'


def _is_ideograph(char: str) -> bool:
    return any(first <= ord(char) <= last for first, last in _IDEOGRAPHS)
