"""Words in the space of an image classifier, with the shipped files."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from mmovsam.checkpoints import save_safetensors
from mmovsam.checkpoints.loading import load_checkpoint_file
from mmovsam.vocabulary import (
    Vocabulary,
    load_classifier,
    load_photo_text,
    load_text_encoder,
    save_classifier,
)
from mmovsam.vocabulary.photo_text import KernelMap

TEXT = 'mmovsam://photo_text.safetensors'
NAMES = 'mmovsam://photo_names.safetensors'
PUFFIN = (
    'any of two genera of northern seabirds having short necks and brightly colored compressed '
    'bills'
)
NAPKIN = (
    'a small piece of table linen that is used to wipe the mouth and to cover the lap in order '
    'to protect clothing'
)
TENCH = 'tench, Tinca tinca (n01440764)'


@pytest.fixture(scope='module')
def photo():
    return load_text_encoder('photo', TEXT, names=NAMES)


def build(photo, *args, **kwargs):
    return Vocabulary(*args, **kwargs).build_classifier(*photo, progress=False)


def nearest(photo, name, count):
    """The known names whose rows are most similar to that of a name."""
    model, tokenizer = photo
    similarity = model.rows @ build(photo, [name]).embeddings[0]
    best = similarity.topk(count).indices.tolist()
    return {tokenizer.names[index].split(',')[0].split(' (')[0] for index in best}


def test_kernel_map_goes_through_its_texts_and_is_smooth_with_a_ridge():
    texts, rows = F.normalize(torch.randn(20, 16)), torch.randn(20, 8)
    exact = KernelMap.fit(texts, rows, sharpness=4.0, ridge=0.0)
    torch.testing.assert_close(exact(texts), rows, atol=1e-3, rtol=1e-3)
    smooth = KernelMap.fit(texts, rows, sharpness=4.0, ridge=1.0)
    assert 0.2 < smooth(texts).norm() / rows.norm() < 0.9


@pytest.mark.parametrize('name', ['tench', 'Tinca_tinca', 'tench, Tinca tinca', TENCH])
def test_known_name_has_its_own_row(photo, name):
    known = load_classifier(NAMES)
    classifier = build(photo, [name, 'kitten'])
    torch.testing.assert_close(classifier.embeddings[0], F.normalize(known.embeddings[0], dim=0))
    assert known.bias[0] < 0 and classifier.bias.tolist() == [known.bias[0], 0]


@pytest.mark.parametrize(
    ('name', 'kin'),
    [
        ('kitten', {'tabby', 'tiger cat', 'Egyptian cat'}),
        ('sailboat', {'schooner', 'yawl', 'catamaran', 'trimaran'}),
        ('train', {'passenger car', 'electric locomotive', 'steam locomotive', 'freight car'}),
        ('smartphone', {'cellular telephone', 'cell phone', 'cellphone', 'iPod'}),
        ('automobile', {'car', 'truck', 'convertible', 'cab', 'bus'}),  # learned from photographs
        ('electric scooter', {'motor scooter', 'moped'}),
    ],
)
def test_other_words_lie_near_known_names_of_their_kind(photo, name, kin):
    assert len(nearest(photo, name, 3) & kin) >= 2


def described(name, names, definition):
    return f'{names}: {definition}', f'{name}: {definition}', f'a {name}'


@pytest.mark.parametrize(
    ('name', 'phrases'),
    [
        ('tench', (TENCH,)),
        ('crane', ('crane (n02012849)', 'bird')),  # of which it is a kind
        ('puffin', described('puffin', 'puffin', PUFFIN) + ('bird',) * 4),
        ('violins', ('violin, fiddle (n04536866)',)),
        ('skis', ('skis',)),  # one that the photographs taught
        ('automobile', ('car',)),  # by its meaning
        ('a car', ('car',)),
        ('old red car', ('a old red car', 'car')),
        ('dog chasing a red car', ('a dog chasing a red car', 'dog')),
        ('the ring of gold', ('the ring of gold', 'ring')),
        ('bow (weapon)', ('bow (n02879718)',)),
        ('napkin', described('napkin', 'napkin, table napkin, serviette', NAPKIN)),  # no diaper
        ('golden doodle', ('a golden doodle',)),
        ('the golden doodle', ('the golden doodle',)),
        ('kitten', described('kitten', 'kitten, kitty', 'young domestic cat')),
    ],
)
def test_phrases_of_a_name(photo, name, phrases):
    assert photo[0].phrases(name) == phrases


def test_templates_and_prompts_are_used_as_they_are_given_and_classes_by_their_meaning(photo):
    classifier = Vocabulary.from_source('imagenet1k').build_classifier(*photo)
    assert classifier.counts == (1,) * 1000
    torch.testing.assert_close(classifier.embeddings, photo[0].rows[:1000])
    assert build(photo, ['kitten']).bias is None
    plain = build(photo, ['kitten'], templates=['{}'])
    model, tokenizer = photo
    torch.testing.assert_close(plain.embeddings, model.encode_text(tokenizer(['kitten'])))
    assert not torch.allclose(plain.embeddings, build(photo, ['kitten']).embeddings, atol=1e-3)
    prompt = build(photo, ['x1'], prompts={'x1': 'young domestic cat'})
    expected = model.encode_text(tokenizer(['young domestic cat']))
    torch.testing.assert_close(prompt.embeddings, expected)


def test_files_of_something_else_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r'photo_names.* is no text side.*build_photo_text'):
        load_photo_text(NAMES)
    state = load_checkpoint_file(TEXT)['state_dict']
    broken = {key: value for key, value in state.items() if 'layers.2' not in key}
    save_safetensors(broken, tmp_path / 'text.safetensors')
    with pytest.raises(ValueError, match=r'text\.safetensors is no text side'):
        load_photo_text(tmp_path / 'text.safetensors')
    known = load_classifier(NAMES)
    narrow = dataclasses.replace(known, embeddings=known.embeddings[:, :8])
    save_classifier(tmp_path / 'narrow.safetensors', narrow)
    with pytest.raises(ValueError, match='have width 8 and the text model 256'):
        load_photo_text(TEXT, tmp_path / 'narrow.safetensors')
    save_classifier(tmp_path / 'nameless.safetensors', dataclasses.replace(known, names=None))
    with pytest.raises(ValueError, match='one row for each of its names'):
        load_photo_text(TEXT, tmp_path / 'nameless.safetensors')
