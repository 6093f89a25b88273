"""Sentences in batches: what is averaged, what is shown, what happens to long ones."""

import pytest
import torch
from text_tower import TOKENIZER, build_clip
from torch import nn

from mmovsam.vocabulary import encoding


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


def encode(groups, model, **settings):
    return encoding.encode_sentences(groups, model, model.tokenizer, **settings)


def test_normalized_sentences_of_a_group_are_averaged_and_normalized_again():
    # 'ab' has length 2 and no space, 'ab x y z' length 8 and 3 spaces.
    mean = torch.tensor([1.0, 0.0]) + torch.tensor([8.0, 3.0]) / 73**0.5
    embeddings = encode([('ab', 'ab x y z'), ('abc',)], LengthModel())
    assert embeddings.dtype == torch.float32
    torch.testing.assert_close(embeddings, torch.stack((mean / mean.norm(), torch.eye(2)[0])))


@pytest.mark.parametrize('batch_size', [1, 2, 5, 1000])
def test_batch_size_is_kept_and_changes_nothing(batch_size):
    groups = [('one', 'a one'), ('twenty one',), ('three', 'a b three', 'a three')]
    model = LengthModel()
    embeddings = encode(groups, model, batch_size=batch_size)
    assert model.largest_batch <= batch_size
    torch.testing.assert_close(embeddings, encode(groups, LengthModel()))


def test_model_runs_in_eval_mode_and_every_mode_is_restored():
    model = LengthModel()
    model.frozen = LengthModel().eval()
    model.dropout.train()
    encode([('a',)], model)
    assert not model.seen_training
    assert model.training and model.dropout.training and not model.frozen.training


def test_nan_from_the_text_tower_is_refused():
    model = LengthModel()
    model.encode_text = lambda tokens: tokens * float('nan')
    with pytest.raises(ValueError, match='NaN'):
        encode([('a',)], model)


def test_batch_size_zero_is_refused():
    with pytest.raises(ValueError, match='batch_size'):
        encode([('a',)], LengthModel(), batch_size=0)


@pytest.mark.parametrize(('seconds', 'progress'), [(100.0, True), (0.0, False)])
def test_short_or_quiet_encoding_shows_nothing(capsys, monkeypatch, seconds, progress):
    monkeypatch.setattr(encoding, 'SILENT_SECONDS', seconds)
    encode([('a',)] * 9, LengthModel(), batch_size=1, progress=progress)
    assert capsys.readouterr() == ('', '')


def test_long_encoding_shows_its_rate_and_the_time_left(capsys, monkeypatch):
    monkeypatch.setattr(encoding, 'SILENT_SECONDS', 0.0)
    encode([('a',)] * 9, LengthModel(), batch_size=1)
    assert '9/9' in (shown := capsys.readouterr().err)
    assert '<' in shown and 'sentences/s' in shown


@pytest.fixture
def log(monkeypatch):
    said = []
    monkeypatch.setattr(encoding, 'print_log', lambda text, **_: said.append(text))
    return said


def test_sentence_is_cut_where_it_exceeds_the_context_by_one_token(log):
    fits = ' '.join('a' * 18)  # and two tokens for start and end
    long = f'{fits} a'
    both = encoding.encode_sentences([(fits,), (long,), ('a',)], build_clip(), TOKENIZER)
    (message,) = log
    assert '1 of 3 sentences are longer than this text tower reads (20 tokens)' in message
    assert repr(long) in message
    torch.testing.assert_close(both[0], both[1])  # what is left of them is the same
