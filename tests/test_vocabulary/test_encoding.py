"""Sentences to embeddings: what is averaged, shown and cut, and what is kept on disk."""

import pytest
import torch
from text_tower import TOKENIZER, build_clip
from torch import nn

from mmovsam.checkpoints import save_safetensors
from mmovsam.vocabulary import Vocabulary, encoding
from mmovsam.vocabulary.encoding import encode_sentences

NAMES = ['cat', 'dog/hound', 'red ring']


@pytest.fixture
def log(monkeypatch):
    said = []
    monkeypatch.setattr(encoding, 'print_log', lambda text, **_: said.append(text))
    return said


class LengthModel(nn.Module):
    """Embeds a text as (its length, its number of spaces), and notes what it is given."""

    def __init__(self):
        super().__init__()
        self.largest_batch = 0
        self.seen_training = False
        self.dropout = nn.Dropout(0.5)

    def tokenizer(self, texts):
        self.largest_batch = max(self.largest_batch, len(texts))
        return torch.tensor([[len(text), text.count(' ')] for text in texts])

    def encode_text(self, tokens):
        self.seen_training |= self.dropout.training
        return tokens.double()


def encode(groups, model, **settings):
    return encode_sentences(groups, model, model.tokenizer, **settings)


@pytest.mark.parametrize('batch_size', [1, 2, 1000])
def test_normalized_sentences_of_a_group_are_averaged_and_normalized_again(batch_size):
    # 'ab' has length 2 and no space, 'ab x y z' length 8 and 3 spaces.
    mean = torch.tensor([1.0, 0.0]) + torch.tensor([8.0, 3.0]) / 73**0.5
    model = LengthModel()
    embeddings = encode([('ab', 'ab x y z'), ('abc',)], model, batch_size=batch_size)
    assert embeddings.dtype == torch.float32 and model.largest_batch <= batch_size
    torch.testing.assert_close(embeddings, torch.stack((mean / mean.norm(), torch.eye(2)[0])))


def test_model_runs_in_eval_mode_and_every_mode_is_restored():
    model = LengthModel()
    model.frozen = LengthModel().eval()
    model.dropout.train()
    encode([('a',)], model)
    assert not model.seen_training
    assert model.training and model.dropout.training and not model.frozen.training


def test_nan_from_the_text_tower_and_empty_batches_are_refused():
    model = LengthModel()
    model.encode_text = lambda tokens: tokens * float('nan')
    with pytest.raises(ValueError, match='NaN'):
        encode([('a',)], model)
    with pytest.raises(ValueError, match='batch_size'):
        encode([('a',)], model, batch_size=0)


@pytest.mark.parametrize(
    ('seconds', 'progress', 'shown'), [(100.0, True, ''), (0.0, False, ''), (0.0, True, '9/9')]
)
def test_long_encoding_shows_its_rate_and_the_time_left(
    capsys, monkeypatch, seconds, progress, shown
):
    monkeypatch.setattr(encoding, 'SILENT_SECONDS', seconds)
    encode([('a',)] * 9, LengthModel(), batch_size=1, progress=progress)
    output, errors = capsys.readouterr()
    assert output == '' and shown in errors
    assert 'sentences/s' in errors and '<' in errors if shown else errors == ''


def test_sentence_is_cut_where_it_exceeds_the_context_by_one_token(log):
    fits = ' '.join('a' * 18)  # and two tokens for start and end
    long = f'{fits} a'
    both = encode_sentences([(fits,), (long,), ('a',)], build_clip(), TOKENIZER)
    (message,) = log
    assert '1 of 3 sentences are longer than this text tower reads (20 tokens)' in message
    assert repr(long) in message
    torch.testing.assert_close(both[0], both[1])  # what is left of them is the same


# What is kept


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The cache of this test."""
    monkeypatch.setenv('MMOVSAM_CACHE', str(tmp_path / 'cache'))
    return tmp_path / 'cache'


@pytest.fixture
def encoded(folder, monkeypatch):
    """The names that have been encoded so far, a list that grows."""
    names = []

    def encode(groups, *arguments):
        names.extend(groups)
        return encode_sentences(groups, *arguments)

    monkeypatch.setattr('mmovsam.vocabulary.vocabulary.encode_sentences', encode)
    return names


def build(model, vocabulary=None, tokenizer=TOKENIZER, **settings):
    """The classifier of three classes with four names."""
    return (vocabulary or Vocabulary(NAMES)).build_classifier(model, tokenizer, **settings)


def test_second_time_is_read_and_the_same_to_the_bit(folder, encoded):
    first = build(build_clip())
    clip = build_clip()
    del clip.visual  # what the text tower does not read may change
    same = Vocabulary(['Cat', 'dog', 'red_ring'], [[], ['hound'], []], novel=[True] * 3)
    second = build(clip, same, lambda texts: TOKENIZER([text.upper() for text in texts]))
    assert len(encoded) == 4 and len(list(folder.iterdir())) == 1
    assert torch.equal(first.embeddings, second.embeddings) and first.counts == second.counts
    assert second.names == ('Cat', 'dog', 'red_ring') and second.novel == (True,) * 3


@pytest.mark.parametrize(
    'change',
    [
        dict(names=['cat', 'dog/hound', 'red rings']),
        dict(synonyms=[[], [], ['circle']]),
        dict(templates=['a {}']),
        dict(prompts={'cat': 'a photo of a cat.'}),
    ],
)
def test_other_sentences_are_encoded_anew(change, encoded):
    clip = build_clip()
    build(clip)
    vocabulary = Vocabulary(**{'names': NAMES, **change})
    kept = build(clip, vocabulary)
    assert len(encoded) > 4
    assert torch.equal(kept.embeddings, build(clip, vocabulary, cache=False).embeddings)


def with_another_weight():
    clip = build_clip()
    clip.transformer.resblocks[0].mlp.c_fc.weight.data[0, 0] += 1  # autograd does not see it
    return clip


@pytest.mark.parametrize(
    'change',
    [
        with_another_weight,
        lambda: build_clip(text_cfg=dict(heads=4)),
        lambda: build_clip(quick_gelu=True),
        lambda: build_clip(text_cfg=dict(no_causal_mask=True)),
    ],
)
def test_another_weight_setting_or_tokenizer_is_noticed(change, encoded):
    before, after = build(build_clip()), build(change())
    assert len(encoded) == 8 and not torch.equal(before.embeddings, after.embeddings)
    build(build_clip(), tokenizer=lambda texts: TOKENIZER([f'{text}!' for text in texts]))
    assert len(encoded) == 12


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
    assert torch.equal(good.embeddings, build(clip).embeddings)
    assert len(encoded) == 8 and file.read_bytes() == content
    assert file.name in log[0] and 'damaged' in log[0]


def test_nothing_is_kept_where_that_is_not_wanted_or_not_possible(
    folder, encoded, log, monkeypatch
):
    def stop(tokens):
        raise KeyboardInterrupt

    clip, interrupted = build_clip(), build_clip()
    interrupted.encode_text = stop
    with pytest.raises(KeyboardInterrupt):
        build(interrupted)
    build(LengthModel())  # has no weights
    build(clip, cache=False)
    monkeypatch.setenv('MMOVSAM_CACHE', 'off')
    build(clip)
    assert not folder.exists()
    monkeypatch.setenv('MMOVSAM_CACHE', str(folder))
    folder.write_text('a file, no folder')
    assert len(build(clip)) == 3
    assert 'cannot be written' in log[-1] and 'MMOVSAM_CACHE' in log[-1]


def test_folder_is_the_users_own_unless_the_environment_names_one(folder, monkeypatch, tmp_path):
    assert encoding.cache_folder() == folder
    monkeypatch.delenv('MMOVSAM_CACHE')
    monkeypatch.setattr('platformdirs.user_cache_path', lambda name: tmp_path / name)
    assert encoding.cache_folder() == tmp_path / 'mmovsam'
