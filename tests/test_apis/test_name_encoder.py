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
def read(tower, monkeypatch):
    """The names that the text tower was given."""
    names, original = [], Vocabulary.build_classifier

    def build(self, *args, **kwargs):
        names.extend(self.names)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(Vocabulary, 'build_classifier', build)
    monkeypatch.setattr('mmovsam.apis.name_encoder.load_text_encoder', lambda **_: tower)
    return names


def test_names_of_the_model_keep_its_embeddings_its_split_and_its_bias(read):
    own = tiny.vocabulary()
    own = replace(own, bias=torch.full(own.embeddings.shape[:2], -0.5))
    encoder = NameEncoder(own, TOWER)
    classifier = encoder.classifier(['owl', 'boat', 'cat'])
    assert classifier.names == ('owl', 'boat', 'cat')
    assert classifier.novel == (True, True, False)  # boat is neither, but somebody wants it
    assert torch.equal(classifier.flat()[0], own.embeddings[[4, 5, 0]].flatten(0, 1))
    assert not read
    assert encoder.classifier(['mug', 'owl', 'plate']).bias.tolist() == [0.0, -0.5, -0.5, 0.0]
    assert encoder.classifier(['mug', 'plate']).bias is None


def test_typed_names_are_novel_and_read_as_a_vocabulary_reads_them(read, tower):
    classifier = NameEncoder(tiny.vocabulary(), TOWER).classifier(
        ['Sofa, couch', 'cat', 'mug', 'sofa,Couch']
    )
    expected = Vocabulary(['Sofa, couch', 'mug']).build_classifier(*tower, cache=False)
    assert classifier.names == ('Sofa, couch', 'cat', 'mug')  # those read alike are one class
    assert classifier.novel == (True, False, True) and classifier.counts == (2, 2, 1)
    torch.testing.assert_close(classifier.embeddings[[0, 1, 4]], expected.embeddings)


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


def test_a_built_vocabulary_is_taken_as_it_is_and_lends_its_names(read, tower):
    own = tiny.vocabulary()
    names = ['mug', 'cat', 'a long name, a short name']
    other = Vocabulary(names).build_classifier(*tower, cache=False)
    read.clear()
    encoder = NameEncoder(own, TOWER, max_names=2, built=dict(other=other))
    assert encoder.classifier(names) is other  # however many there are
    lent = encoder.classifier(['mug', 'cat'])
    assert not read
    torch.testing.assert_close(lent.embeddings[0], other.flat()[0][0])
    assert torch.equal(lent.embeddings[1:3], own.embeddings[0])  # the model's own comes first
