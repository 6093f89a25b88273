"""Classifiers of typed names: what is known is kept, and each name is read once."""

from dataclasses import replace

import pytest
import tiny
import torch

from mmovsam.apis.name_encoder import NameEncoder
from mmovsam.vocabulary import Vocabulary, load_text_encoder

TOWER = dict(model=tiny.CLIP)


@pytest.fixture(scope='module')
def tower():
    return load_text_encoder(**TOWER)


@pytest.fixture
def text_encoder(tower, monkeypatch):
    """The tower that is loaded; `read` of its model are the names that it was given."""
    read = []

    def build(self, *args, **kwargs):
        read.extend(self.names)
        return original(self, *args, **kwargs)

    original = Vocabulary.build_classifier
    monkeypatch.setattr(Vocabulary, 'build_classifier', build)
    monkeypatch.setattr('mmovsam.apis.name_encoder.load_text_encoder', lambda **_: tower)
    tower[0].read = read
    return tower


def test_names_of_the_model_keep_its_embeddings_and_its_split(text_encoder):
    own = tiny.vocabulary()
    classifier = NameEncoder(own, TOWER).classifier(['owl', 'boat', 'cat'])
    assert classifier.names == ('owl', 'boat', 'cat')
    assert classifier.novel == (True, True, False)  # boat is neither, but somebody wants it
    assert torch.equal(classifier.flat()[0], own.embeddings[[4, 5, 0]].flatten(0, 1))
    assert not text_encoder[0].read


def test_typed_names_are_novel_and_read_as_a_vocabulary_reads_them(text_encoder):
    classifier = NameEncoder(tiny.vocabulary(), TOWER).classifier(['Sofa, couch', 'cat', 'mug'])
    expected = Vocabulary(['Sofa, couch', 'mug']).build_classifier(*text_encoder, cache=False)
    assert classifier.novel == (True, False, True) and classifier.counts == (2, 2, 1)
    torch.testing.assert_close(classifier.embeddings[[0, 1, 4]], expected.embeddings)


def test_a_name_is_read_once(text_encoder):
    encoder = NameEncoder(None, TOWER)
    encoder.classifier(['mug', 'cup'])
    encoder.classifier(['cup', 'plate', 'mug'])
    assert text_encoder[0].read == ['mug', 'cup', 'plate']


def test_names_of_the_model_keep_their_bias(text_encoder):
    own = tiny.vocabulary()
    own = replace(own, bias=torch.full(own.embeddings.shape[:2], -0.5))
    encoder = NameEncoder(own, TOWER)
    assert encoder.classifier(['mug', 'owl', 'plate']).bias.tolist() == [0.0, -0.5, -0.5, 0.0]
    assert encoder.classifier(['mug', 'plate']).bias is None


def test_names_that_are_read_alike_are_one_class(text_encoder):
    classifier = NameEncoder(tiny.vocabulary(), TOWER).classifier(['Red_car', 'mug', 'red car'])
    assert classifier.names == ('Red_car', 'mug') and classifier.novel == (True, True)
    assert NameEncoder(tiny.vocabulary()).own_names == tiny.NAMES


def test_old_names_are_forgotten_but_never_those_of_the_list(text_encoder):
    encoder = NameEncoder(None, TOWER, max_names=3, remembered=0)
    encoder.classifier(['a', 'b', 'c'])
    assert encoder.classifier(['d', 'c', 'a']).names == ('d', 'c', 'a')
    assert text_encoder[0].read == ['a', 'b', 'c', 'd']
    encoder.classifier(['b'])
    assert text_encoder[0].read == ['a', 'b', 'c', 'd', 'b']


@pytest.mark.parametrize(
    'names, message',
    [
        ([], 'no name: give at least one'),
        (['cat', ','], "class name ',' is empty"),
        (['a', 'b', 'c'], '3 names are more than the 2 that fit'),
        (['cat', 'mug'], r'^mug: this model knows its own names only.*text_encoder'),
    ],
)
def test_lists_that_make_no_classifier_are_refused(names, message):
    with pytest.raises(ValueError, match=message):
        NameEncoder(tiny.vocabulary(), max_names=2).classifier(names)


def test_a_built_vocabulary_is_taken_as_it_is_and_lends_its_names(text_encoder):
    own = tiny.vocabulary()
    other = Vocabulary(['mug', 'cat', 'a long name, a short name']).build_classifier(
        *text_encoder, cache=False
    )
    text_encoder[0].read.clear()
    encoder = NameEncoder(own, TOWER, max_names=2, built=dict(other=other))
    assert encoder.classifier(list(other.names)) is other  # however many there are
    lent = encoder.classifier(['mug', 'cat'])
    assert not text_encoder[0].read
    torch.testing.assert_close(lent.embeddings[0], other.flat()[0][0])
    assert torch.equal(lent.embeddings[1:3], own.embeddings[0])  # the model's own comes first
