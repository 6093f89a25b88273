"""Sentences to embeddings: what is averaged, shown and cut, and what is kept on disk."""

import pytest
import torch
from text_tower import TOKENIZER, LengthModel, build_clip

from mmovsam.checkpoints import save_safetensors
from mmovsam.vocabulary import Vocabulary
from mmovsam.vocabulary.encoding import encode_sentences

NAMES = ['cat', 'dog/hound', 'red ring']


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
    assert model.training  # as before
    with pytest.raises(ValueError, match='batch_size'):
        encode([('a',)], model, batch_size=0)
    model.encode_text = lambda tokens: tokens * float('nan')
    with pytest.raises(ValueError, match='NaN'):
        encode([('a',)], model)


def test_sentence_is_cut_where_it_exceeds_the_context_by_one_token(logged):
    fits = ' '.join('a' * 18)  # and two tokens for start and end
    long = f'{fits} a'
    both = encode_sentences([(fits,), (long,), ('a',)], build_clip(), TOKENIZER)
    (message,) = logged.messages
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


def with_another_weight():
    clip = build_clip()
    clip.transformer.resblocks[0].mlp.c_fc.weight.data[0, 0] += 1  # autograd does not see it
    return clip


def shouting(texts):
    return TOKENIZER([f'{text}!' for text in texts])


@pytest.mark.parametrize(
    'make, vocabulary, tokenizer',
    [
        (with_another_weight, {}, TOKENIZER),
        (lambda: build_clip(text_cfg=dict(heads=4)), {}, TOKENIZER),
        (lambda: build_clip(quick_gelu=True), {}, TOKENIZER),
        (build_clip, {}, shouting),
        (build_clip, dict(names=['cat', 'dog/hound', 'red rings']), TOKENIZER),
        (build_clip, dict(synonyms=[[], [], ['circle']]), TOKENIZER),
        (build_clip, dict(templates=['a {}']), TOKENIZER),
        (build_clip, dict(prompts={'cat': 'a photo of a cat.'}), TOKENIZER),
    ],
)
def test_other_networks_tokens_and_sentences_are_encoded_anew(encoded, make, vocabulary, tokenizer):
    before = build(build_clip())
    vocabulary = Vocabulary(**{'names': NAMES, **vocabulary})
    kept = build(make(), vocabulary, tokenizer)
    assert len(encoded) > 4
    anew = build(make(), vocabulary, tokenizer, cache=False)
    assert torch.equal(kept.embeddings, anew.embeddings)
    assert kept.counts != before.counts or not torch.equal(kept.embeddings, before.embeddings)


@pytest.mark.parametrize('damage', ['truncated', 'a bit', 'empty', 'another'])
def test_damaged_file_is_made_anew(damage, folder, encoded, logged):
    clip = build_clip()
    good = build(clip)
    (file,) = folder.iterdir()
    content = file.read_bytes()
    if damage == 'another':
        save_safetensors({'embeddings': torch.ones(2, 24)}, file)
    else:
        flipped = content[:-3] + bytes([content[-3] ^ 1]) + content[-2:]
        file.write_bytes({'truncated': content[:-7], 'a bit': flipped, 'empty': b''}[damage])
    assert torch.equal(good.embeddings, build(clip).embeddings)
    assert len(encoded) == 8 and file.read_bytes() == content
    assert file.name in logged.text and 'damaged' in logged.text


def test_nothing_is_kept_where_that_is_not_wanted_or_not_possible(
    folder, encoded, logged, monkeypatch
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
    assert 'cannot be written' in logged.text and 'MMOVSAM_CACHE' in logged.text
