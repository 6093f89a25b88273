"""BERT's tokens. The pieces are those of its original tokenizer."""

import pytest
import torch

from mmovsam.vocabulary.sentence_encoder import WordPieceTokenizer, split_words

WORDS = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', 'hot', 'dog', '##dog', '##s', '-', 'a', '##a']


@pytest.fixture
def tokenizer():
    return WordPieceTokenizer(WORDS, context_length=6)


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('Café au lait', ['cafe', 'au', 'lait']),
        ('naïve Ωmega', ['naive', 'ωmega']),
        ('İstanbul', ['istanbul']),
        ("don't", ['don', "'", 't']),
        ('hot-dog (food)', ['hot', '-', 'dog', '(', 'food', ')']),
        ('$5^2', ['$', '5', '^', '2']),
        ('№5 €20', ['№5', '€20']),
        ('北京 duck', ['北', '京', 'duck']),
        ('a\tb\u200bc\u00a0d', ['a', 'bc', 'd']),
        (' \n', []),
    ],
)
def test_text_is_split_into_words(text, words):
    assert split_words(text) == words


@pytest.mark.parametrize(
    ('text', 'pieces'),
    [
        ('hotdogs', ['hot', '##dog', '##s']),
        ('Hot-Dog', ['hot', '-', 'dog']),
        ('dogma a', ['[UNK]', 'a']),
        ('a' * 100, ['a'] + 99 * ['##a']),
        ('a' * 101, ['[UNK]']),
    ],
)
def test_words_are_cut_into_the_longest_pieces(tokenizer, text, pieces):
    assert [WORDS[index] for index in tokenizer.ids(text)] == pieces


def test_tokens_have_a_start_an_end_and_padding_and_long_texts_are_cut(tokenizer):
    tokens = tokenizer(['hot dog', 'a a a a a', ''])
    assert tokens.tolist() == [[2, 4, 5, 3, 0, 0], [2, 9, 9, 9, 9, 3], [2, 3, 0, 0, 0, 0]]
    assert tokenizer(['a a a a a'], context_length=7)[0, -1] == 3
    assert tokens.dtype == torch.int64


def test_vocabulary_without_special_tokens_is_refused():
    with pytest.raises(ValueError, match=r"needs \['\[SEP\]'\]"):
        WordPieceTokenizer(['[PAD]', '[UNK]', '[CLS]'])
