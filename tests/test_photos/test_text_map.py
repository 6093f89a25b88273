"""What photographs taught of names, for words that are like those, with the shipped text side."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from mmovsam.photos.text_map import IMAGENET_TEXTS, imagenet_map, write_text_side
from mmovsam.vocabulary import load_classifier, load_photo_text

NAMES = 'mmovsam://photo_names.safetensors'


def names_with(*learned):
    """ImageNet's names, and learned ones, with rows unlike any that text would give."""
    shipped, count = load_classifier(NAMES), 1000 + len(learned)
    row = F.normalize(torch.randn(1, 256, generator=torch.Generator().manual_seed(0)))
    return dataclasses.replace(
        shipped,
        embeddings=torch.cat((shipped.flat()[0][:1000], row[: len(learned)])),
        names=(*shipped.names[:1000], *learned),
        counts=(1,) * count,
        bias=torch.zeros(count),
    )


@pytest.fixture(scope='module')
def known():
    return names_with('bicycle')


@pytest.fixture(scope='module')
def written(known, tmp_path_factory):
    path = tmp_path_factory.mktemp('text') / 'text.safetensors'
    write_text_side(known, path)
    return path


def rows_of(text, words):
    return F.normalize(text.text_map(text.encoder(text.tokenizer.word_pieces(words))), dim=1)


def test_a_learned_name_is_where_it_was_learned_and_like_words_move_there(known, written):
    row = F.normalize(known.flat()[0][-1:], dim=1)
    text, before = load_photo_text(written)[0], load_photo_text(written)[0]
    before.text_map = imagenet_map(before)
    words = ['bicycle', 'a bicycle', 'bike', 'a mountain bike', 'a teapot']
    after = (rows_of(text, words) @ row.T)[:, 0]
    moved = after - (rows_of(before, words) @ row.T)[:, 0]
    assert after[:2].min() > 0.8
    assert moved[2] > 0.4
    assert moved[2] > moved[3] > 2 * moved[4].abs()


def test_what_was_learned_before_is_replaced_and_imagenets_part_stays(known, written, tmp_path):
    again = tmp_path / 'again.safetensors'
    write_text_side(known, again, written)
    once, twice = (load_photo_text(path)[0].text_map for path in (written, again))
    assert len(once.anchors) == len(twice.anchors) > IMAGENET_TEXTS
    torch.testing.assert_close(once.anchors, twice.anchors)
    torch.testing.assert_close(once.weight, twice.weight)
    shipped = load_photo_text('mmovsam://photo_text.safetensors')[0]
    torch.testing.assert_close(imagenet_map(shipped).weight, twice.weight[:IMAGENET_TEXTS])


def test_without_a_learned_name_the_map_is_imagenets(written, tmp_path):
    write_text_side(names_with(), tmp_path / 'bare.safetensors', written)
    assert len(load_photo_text(tmp_path / 'bare.safetensors')[0].text_map.anchors) == IMAGENET_TEXTS
