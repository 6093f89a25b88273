import pytest
import torch
from torch import nn

from mmovsam.vocabulary import Vocabulary


class LengthModel(nn.Module):
    """Embeds a text as (its length, its number of spaces), and counts what it is given."""

    def __init__(self):
        super().__init__()
        self.texts = []
        self.largest_batch = 0
        self.seen_training = False
        self.dropout = nn.Dropout(0.5)

    def tokenizer(self, texts):
        self.texts += texts
        self.largest_batch = max(self.largest_batch, len(texts))
        return torch.tensor([[len(text), text.count(' ')] for text in texts])

    def encode_text(self, tokens):
        self.seen_training |= self.dropout.training
        return tokens.double()


def test_encode_averages_normalized_sentences_and_normalizes_again():
    model = LengthModel()
    vocabulary = Vocabulary(['ab'], templates=['{}', '{} x y z'])
    # 'ab' has length 2 and no space, 'ab x y z' length 8 and 3 spaces.
    mean = torch.tensor([1.0, 0.0]) + torch.tensor([8.0, 3.0]) / 73**0.5
    classifier = vocabulary.encode(model, model.tokenizer, progress=False)
    assert classifier.shape == (1, 1, 2)
    assert classifier.dtype == torch.float32
    torch.testing.assert_close(classifier[0, 0], mean / mean.norm())


def test_shorter_name_lists_repeat_their_first():
    model = LengthModel()
    vocabulary = Vocabulary(['a', 'b b_or_cc c c/d'], templates=['{}.'])
    classifier = vocabulary.encode(model, model.tokenizer)
    assert classifier.shape == (2, 3, 2)
    torch.testing.assert_close(classifier[0, 1:], classifier[0, :1].expand(2, -1))
    torch.testing.assert_close(classifier[1, 2], classifier[0, 0])
    assert not torch.allclose(classifier[1, 0], classifier[1, 1])


def test_a_name_of_two_classes_is_encoded_once():
    model = LengthModel()
    Vocabulary(['cat/pet', 'dog/pet'], templates=['{}']).encode(model, model.tokenizer)
    assert sorted(model.texts) == ['cat', 'dog', 'pet']


@pytest.mark.parametrize('batch_size', [1, 2, 5, 1000])
def test_batch_size_is_kept_and_changes_nothing(batch_size):
    model = LengthModel()
    vocabulary = Vocabulary(['one', 'twenty one', 'three_or_four five'])
    expected = vocabulary.encode(LengthModel(), model.tokenizer)
    model.largest_batch = 0
    classifier = vocabulary.encode(model, model.tokenizer, batch_size=batch_size)
    assert model.largest_batch <= batch_size
    torch.testing.assert_close(classifier, expected)


def test_encode_runs_in_eval_mode_and_restores_every_mode():
    model = LengthModel()
    frozen = LengthModel().eval()
    model.frozen = frozen
    model.train()
    frozen.eval()
    Vocabulary(['a']).encode(model, model.tokenizer)
    assert not model.seen_training
    assert model.training and model.dropout.training
    assert not frozen.training


def test_nan_from_the_text_tower_is_refused():
    model = LengthModel()
    model.encode_text = lambda tokens: tokens * float('nan')
    with pytest.raises(ValueError, match='NaN'):
        Vocabulary(['a']).encode(model, model.tokenizer)


def test_batch_size_zero_is_refused():
    with pytest.raises(ValueError, match='batch_size'):
        Vocabulary(['a']).encode(LengthModel(), None, batch_size=0)


def test_synonyms_come_after_the_own_names_each_once():
    vocabulary = Vocabulary(['Sofa_or_couch', 'cat'], synonyms=[['couch', 'settee'], []])
    assert vocabulary.prompt_names == (('sofa', 'couch', 'settee'), ('cat',))


def test_name_with_braces_is_put_in_as_it_is():
    model = LengthModel()
    Vocabulary(['a{}b{0}'], templates=['x {}']).encode(model, model.tokenizer)
    assert model.texts == ['x a{}b{0}']


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(names=[]), 'at least one class name'),
        (dict(names=['a', '']), "class name '' is empty"),
        (dict(names=['a', 'b', 'A']), "more than once: 'a', 'A'"),
        (dict(names=['a b', 'a_b']), "more than once: 'a b', 'a_b'"),
        (dict(names=['a'], synonyms=[]), 'synonyms has 0 entries for 1 classes'),
        (dict(names=['a'], novel=[True, False]), 'novel has 2 entries for 1 classes'),
        (dict(names=['a'], templates=[]), 'templates must be sentences'),
        (dict(names=['a'], templates=['no place']), 'no place'),
    ],
)
def test_bad_vocabulary_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Vocabulary(**arguments)


@pytest.mark.parametrize(
    'arguments',
    [dict(names='cat'), dict(names=None), dict(names=[1]), dict(names=['a'], synonyms=['b'])],
)
def test_vocabulary_of_wrong_type_is_refused(arguments):
    with pytest.raises(TypeError, match='must be a'):
        Vocabulary(**arguments)


def test_file_holds_a_class_a_line_with_synonyms_after_commas(tmp_path):
    path = tmp_path / 'names.txt'
    path.write_bytes('\ufeffcat, Kitty\r\n\r\ncafé_cup\n'.encode())
    vocabulary = Vocabulary.from_file(path, templates=['{}'])
    assert vocabulary.prompt_names == (('cat', 'kitty'), ('café cup',))
    assert len(vocabulary) == 2
    assert vocabulary.templates == ('{}',)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'absent\.txt'):
        Vocabulary.from_file(tmp_path / 'absent.txt')


def test_file_of_another_encoding_is_named(tmp_path):
    path = tmp_path / 'latin.txt'
    path.write_bytes('café'.encode('latin-1'))
    with pytest.raises(ValueError, match=r'latin\.txt is not UTF-8 \(byte 3\)'):
        Vocabulary.from_file(path)


def test_error_in_a_file_names_the_file(tmp_path):
    path = tmp_path / 'empty.txt'
    path.write_text('\n\n')
    with pytest.raises(ValueError, match=r'empty\.txt: a vocabulary needs'):
        Vocabulary.from_file(path)


def test_metainfo_gives_names_synonyms_and_novel():
    metainfo = dict(classes=('a', 'b'), synonyms=(('x',), ()), novel=(False, True), palette=())
    vocabulary = Vocabulary.from_metainfo(metainfo)
    assert vocabulary.names == ('a', 'b')
    assert vocabulary.prompt_names == (('a', 'x'), ('b',))
    assert vocabulary.novel == (False, True)
    assert Vocabulary.from_metainfo(dict(classes=['a'])).novel is None


def test_class_that_is_neither_base_nor_novel_stays_so():
    assert Vocabulary(['a', 'b', 'c'], novel=[None, 0, True]).novel == (None, False, True)


def test_metainfo_without_classes_is_refused():
    with pytest.raises(ValueError, match="no 'classes'"):
        Vocabulary.from_metainfo(dict(palette=()))


def test_index_finds_a_class_by_any_of_its_names():
    vocabulary = Vocabulary(['Sofa_or_couch', 'traffic_light'])
    assert vocabulary.index('Sofa_or_couch') == 0
    assert vocabulary.index('couch') == 0
    assert vocabulary.index('Traffic light') == 1


def test_unknown_name_is_answered_with_similar_ones():
    with pytest.raises(ValueError, match="unknown class name 'traffic lite'.*'traffic light'"):
        Vocabulary(['cat', 'traffic_light']).index('traffic lite')
