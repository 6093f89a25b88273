"""The small BERT with its tokenizer, with random weights and with those that are shipped."""

import pytest
import torch
import torch.nn.functional as F

from mmovsam.vocabulary import load_photo_text
from mmovsam.vocabulary.sentence_encoder import SentenceEncoder, WordPieceTokenizer, split_words

# Cosine similarities that all-MiniLM-L6-v2 itself gives.
TEXTS = [
    'a fire engine',
    'tomcat',
    'sofa, couch, lounge: an upholstered seat for more than one person',
    'Café au lait',
    'traffic cone',
]
SIMILARITY = [
    [1.0, 0.227, 0.142, 0.061, 0.257],
    [0.227, 1.0, 0.086, 0.153, 0.168],
    [0.142, 0.086, 1.0, 0.277, 0.106],
    [0.061, 0.153, 0.277, 1.0, 0.129],
    [0.257, 0.168, 0.106, 0.129, 1.0],
]


@pytest.fixture(scope='module')
def encoder():
    torch.manual_seed(0)
    return SentenceEncoder(50, 32, 2, 4, 64, context_length=12).eval()


def test_embedding_of_a_sentence_does_not_depend_on_those_beside_it(encoder):
    tokens = torch.randint(1, 50, (40, 12))
    for row, length in zip(tokens, torch.randint(2, 13, (40,)).tolist()):
        row[length:] = 0
    together = encoder(tokens)
    alone = torch.cat([encoder(row[None, : int((row > 0).sum())]) for row in tokens])
    torch.testing.assert_close(together, alone)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(40))


def test_shipped_weights_see_sentences_as_the_published_model_does():
    model, tokenizer = load_photo_text('mmovsam://photo_text.safetensors')
    embeddings = model.encoder(tokenizer.word_pieces(TEXTS))
    similarity = F.normalize(embeddings) @ F.normalize(embeddings).T
    torch.testing.assert_close(similarity, torch.tensor(SIMILARITY), atol=0.03, rtol=0)


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
