"""Encoded names on disk: found again when nothing has changed, never when anything has."""

import pytest
import torch
from text_tower import TOKENIZER, build_clip

from mmovsam.checkpoints import save_safetensors
from mmovsam.vocabulary import Vocabulary, encoding
from mmovsam.vocabulary.encoding import encode_sentences

NAMES = ['cat', 'dog/hound', 'red ring']


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The cache of this test."""
    monkeypatch.setenv('MMOVSAM_CACHE', str(tmp_path / 'cache'))
    return tmp_path / 'cache'


@pytest.fixture
def log(monkeypatch):
    said = []
    monkeypatch.setattr(encoding, 'print_log', lambda text, **_: said.append(text))
    return said


@pytest.fixture
def encoded(monkeypatch):
    """The names that have been encoded so far, a list that grows."""
    names = []

    def encode(groups, *arguments):
        names.extend(groups)
        return encode_sentences(groups, *arguments)

    monkeypatch.setattr('mmovsam.vocabulary.vocabulary.encode_sentences', encode)
    return names


def build(model, vocabulary=None, **settings):
    """The classifier of three classes with four names."""
    return (vocabulary or Vocabulary(NAMES)).build_classifier(model, TOKENIZER, **settings)


def test_second_time_is_read_and_the_same_to_the_bit(folder, encoded):
    first = build(build_clip())
    assert len(encoded) == 4
    second = build(build_clip())
    assert len(encoded) == 4 and len(list(folder.iterdir())) == 1
    assert torch.equal(first.embeddings, second.embeddings)
    assert (first.names, first.counts) == (second.names, second.counts)


def test_what_the_text_tower_does_not_read_may_change(encoded):
    clip = build_clip()
    build(clip)
    del clip.visual
    same = Vocabulary(['Cat', 'dog', 'red_ring'], [[], ['hound'], []], novel=[True] * 3)
    classifier = build(clip, same)
    assert len(encoded) == 4
    assert classifier.names == ('Cat', 'dog', 'red_ring') and classifier.novel == (True,) * 3


CHANGES = {
    'a name': dict(names=['cat', 'dog/hound', 'red rings']),
    'a synonym': dict(synonyms=[[], [], ['circle']]),
    'the templates': dict(templates=['a {}']),
    'a prompt': dict(prompts={'cat': 'a photo of a cat.'}),
}


@pytest.mark.parametrize('change', CHANGES)
def test_other_sentences_are_encoded_anew(change, encoded):
    clip = build_clip()
    build(clip)
    vocabulary = Vocabulary(**{'names': NAMES, **CHANGES[change]})
    kept = build(clip, vocabulary)
    assert len(encoded) > 4
    assert torch.equal(kept.embeddings, build(clip, vocabulary, cache=False).embeddings)


def test_changed_weight_is_noticed_even_where_autograd_does_not_see_it(encoded):
    clip = build_clip()
    before = build(clip)
    clip.transformer.resblocks[0].mlp.c_fc.weight.data[0, 0] += 1
    after = build(clip)
    assert len(encoded) == 8
    assert not torch.equal(before.embeddings, after.embeddings)


@pytest.mark.parametrize(
    'change',
    [dict(text_cfg=dict(heads=4)), dict(quick_gelu=True), dict(text_cfg=dict(no_causal_mask=True))],
)
def test_settings_that_no_weight_tells_are_noticed(change, encoded):
    plain, changed = build_clip(), build_clip(**change)
    assert all(map(torch.equal, plain.parameters(), changed.parameters()))
    before, after = build(plain), build(changed)
    assert len(encoded) == 8
    assert not torch.equal(before.embeddings, after.embeddings)


def test_other_tokens_of_the_same_sentences_are_encoded_anew(encoded):
    clip = build_clip()
    build(clip)
    Vocabulary(NAMES).build_classifier(clip, lambda texts: TOKENIZER([t.upper() for t in texts]))
    assert len(encoded) == 4  # the same tokens
    Vocabulary(NAMES).build_classifier(clip, lambda texts: TOKENIZER([f'{t}!' for t in texts]))
    assert len(encoded) == 8


def test_model_without_weights_is_never_kept(folder):
    class Model(torch.nn.Module):
        def encode_text(self, tokens):
            return tokens.float()

    build(Model())
    assert not folder.exists()


def truncate(file):
    file.write_bytes(file.read_bytes()[:-7])


def flip_a_bit(file):
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)


def empty(file):
    file.write_bytes(b'')


def replace_by_another(file):
    save_safetensors({'embeddings': torch.ones(2, 24)}, file)


@pytest.mark.parametrize('damage', [truncate, flip_a_bit, empty, replace_by_another])
def test_damaged_file_is_made_anew(damage, folder, encoded, log):
    clip = build_clip()
    good = build(clip)
    (file,) = folder.iterdir()
    content = file.read_bytes()
    damage(file)
    again = build(clip)
    assert torch.equal(good.embeddings, again.embeddings)
    assert len(encoded) == 8 and file.read_bytes() == content
    assert file.name in log[0] and 'damaged' in log[0]


def test_cache_is_switched_off_by_an_argument_or_the_environment(folder, encoded, monkeypatch):
    clip = build_clip()
    build(clip, cache=False)
    monkeypatch.setenv('MMOVSAM_CACHE', 'off')
    build(clip)
    assert len(encoded) == 8 and not folder.exists()


def test_folder_is_the_users_own_unless_the_environment_names_one(folder, monkeypatch, tmp_path):
    assert encoding.cache_folder() == folder
    monkeypatch.delenv('MMOVSAM_CACHE')
    monkeypatch.setattr('platformdirs.user_cache_path', lambda name: tmp_path / name)
    assert encoding.cache_folder() == tmp_path / 'mmovsam'


def test_folder_that_cannot_be_written_costs_a_warning_only(folder, log):
    folder.write_text('a file, no folder')
    assert len(build(build_clip())) == 3
    assert 'cannot be written' in log[-1] and 'MMOVSAM_CACHE' in log[-1]
