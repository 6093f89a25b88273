"""Text classifiers by their files, and built of what names their classes."""

import open_clip
import pytest
import tiny
import torch

from mmovsam.models.heads import OpenVocabClassifier
from mmovsam.vocabulary import Vocabulary, building, find_classifier, is_classifier_file
from mmovsam.vocabulary.text_encoder import _build_text_model


@pytest.fixture
def encoder(tmp_path, monkeypatch):
    """Arguments of a text encoder, and a cache of its own."""
    monkeypatch.setenv('MMOVSAM_CACHE', str(tmp_path / 'cache'))
    file = tmp_path / 'clip.pth'
    torch.save(_build_text_model(tiny.CLIP).state_dict(), file)
    return dict(model=tiny.CLIP, checkpoint=str(file))


@pytest.fixture
def names(tmp_path):
    file = tmp_path / 'names.txt'
    file.write_text('cat, kitty\ndog\n')
    return str(file)


@pytest.fixture
def loads(monkeypatch):
    """How often the text tower is loaded."""
    count = []
    load = building.load_text_encoder
    monkeypatch.setattr(
        building, 'load_text_encoder', lambda **given: count.append(1) or load(**given)
    )
    return count


def test_source_is_built_by_its_text_encoder_with_its_split(encoder, names):
    found = find_classifier(names, encoder)
    own = Vocabulary.from_file(names).build_classifier(*building.load_text_encoder(**encoder))
    assert found.names == ('cat, kitty', 'dog') and found.counts == (2, 1)
    assert torch.equal(found.embeddings, own.embeddings)
    classifier = OpenVocabClassifier('OVCocoDataset', text_encoder=encoder)
    assert classifier.num_classes == 65 and classifier.has_vocabulary and classifier.has_split
    assert classifier.alpha.tolist().count(pytest.approx(0.9)) == 17


def test_text_tower_of_a_tag_is_loaded_once(encoder, names, loads, monkeypatch):
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, 'tiny', tiny.CLIP)
    listed = dict(openai=dict(file=encoder['checkpoint']))
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, 'tiny', listed)
    given = dict(model='tiny', checkpoint='openai')
    first, second = (find_classifier(names, given) for _ in range(2))
    assert len(loads) == 1
    assert torch.equal(first.embeddings, second.embeddings) and first.names == second.names


def test_text_tower_of_a_file_may_change_and_is_asked_again(encoder, names, loads):
    first = find_classifier(names, encoder)
    torch.save(_build_text_model(tiny.CLIP).state_dict(), encoder['checkpoint'])
    assert not torch.equal(first.embeddings, find_classifier(names, encoder).embeddings)
    assert len(loads) == 2
    for name in ('a/b.safetensors', 'b.pth', 'mmovsam://x', 'hf://a/b/c'):
        assert is_classifier_file(name)
    assert not any(map(is_classifier_file, ('lvis', 'OVCocoDataset', 'names.txt')))


@pytest.mark.parametrize('given', [None, dict(model='RN50x16')])
def test_missing_text_encoder_or_file_is_said_with_what_to_give(given, names):
    with pytest.raises(ValueError, match='model.classifier.text_encoder=.*build_vocabulary'):
        find_classifier(names, given)
    with pytest.raises(FileNotFoundError, match='There is no text classifier lvis.safetensors'):
        find_classifier('lvis.safetensors', given)
