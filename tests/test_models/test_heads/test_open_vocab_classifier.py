"""Similarity to names, and the fusion of two opinions."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from tiny import padded

from mmovsam.models.heads import OpenVocabClassifier
from mmovsam.vocabulary import TextClassifier
from mmovsam.vocabulary.text_classifier import save_classifier

NOVEL = (False, True, None, False)


def build(novel=NOVEL, **settings):
    torch.manual_seed(0)
    classifier = OpenVocabClassifier(**settings)
    names = tuple('abcd')
    classifier.set_classifier(TextClassifier(torch.randn(4, 3, 8) * 7, names, novel))
    return classifier


@given(
    counts=st.lists(st.integers(1, 17), min_size=1, max_size=30),
    seed=st.integers(0, 2**31),
    kind=st.sampled_from(['flat', 'as released', 'with bias']),
)
def test_logits_are_the_best_cosine_of_a_class_names_each_with_its_bias(counts, seed, kind):
    random = torch.Generator().manual_seed(seed)
    text = torch.randn(sum(counts), 16, generator=random)
    x = torch.randn(7, 16, generator=random)
    bias = torch.randn(sum(counts), generator=random) if kind == 'with bias' else None
    flat = TextClassifier(text, counts=tuple(counts), bias=bias)
    released = TextClassifier(padded(text, counts))  # whose repetitions are left out
    classifier = OpenVocabClassifier(logit_scale=3.0)
    classifier.set_classifier(released if kind == 'as released' else flat)
    assert classifier.embeddings.shape == (sum(counts), 16)
    assert classifier.has_bias == (bias is not None)
    each = F.normalize(x, dim=-1) @ F.normalize(text, dim=-1).T + (0 if bias is None else bias)
    best = [group.amax(1) for group in each.split(counts, dim=1)]
    expected = 3 * F.pad(torch.stack(best, 1), (0, 1))  # and the background
    torch.testing.assert_close(classifier.logits(x), expected, atol=1e-5, rtol=0)
    assert OpenVocabClassifier().logit_scale == pytest.approx(math.exp(4.6052))


@pytest.mark.parametrize('with_bias', [False, True])
def test_a_subset_compares_as_the_whole_does(with_bias):
    counts = (2, 1, 3, 1, 2)
    embeddings = torch.randn(sum(counts), 8, generator=torch.Generator().manual_seed(0))
    bias = torch.linspace(-0.2, 0.2, sum(counts)) if with_bias else None
    novel = (True, False, None, False, True)
    whole = OpenVocabClassifier(logit_scale=10.0)
    whole.set_classifier(TextClassifier(embeddings, tuple('abcde'), novel, counts, bias))
    subset = whole.subset([4, 0, 3, 2], ['E', 'A', 'D', 'C'])
    assert subset.names == ('E', 'A', 'D', 'C') and subset.counts == (2, 2, 1, 3)
    assert subset.novel == (True, True, False, None)
    regions = torch.randn(6, 8, generator=torch.Generator().manual_seed(1))
    logits = whole.with_vocabulary(subset).logits(regions)
    torch.testing.assert_close(logits, whole.logits(regions)[:, [4, 0, 3, 2, 5]])


@given(seed=st.integers(0, 2**31), split=st.booleans())
def test_fusion_is_the_weighted_geometric_mean_of_probabilities(seed, split):
    classifier = build(NOVEL if split else None)
    random = torch.Generator().manual_seed(seed)
    head, clip = (torch.randn(6, 5, generator=random) * 5 for _ in range(2))
    visible = torch.rand(6, generator=random) > 0.3
    fused = classifier.fuse(head, clip, visible)
    alpha = [0.1, 0.9, None, 0.1, 0.1] if split else [0.9, 0.9, 0.9, 0.9, 0.1]
    q, c = head.softmax(-1), clip.softmax(-1)
    for k, a in enumerate(alpha):
        if a is None:
            assert (fused[:, k] == -1000).all()
            continue
        a = a * visible
        assert torch.allclose(fused[:, k], (q[:, k] ** (1 - a) * c[:, k] ** a).log(), atol=1e-3)


def test_file_is_read_at_first_use_and_given_novel_names_take_the_place_of_its_own(tmp_path):
    file = tmp_path / 'names.safetensors'
    classifier = OpenVocabClassifier(classifier=str(file))
    save_classifier(file, TextClassifier(torch.randn(4, 1, 8), tuple('abcd'), NOVEL))
    assert classifier.num_classes == 4 and classifier.names == tuple('abcd')
    assert classifier.trained.tolist() == [True, False, False, True, True]
    classifier = OpenVocabClassifier(classifier=str(file), novel=['c', 'd'])
    assert classifier.num_classes == 4
    assert classifier.trained.tolist() == [True, True, False, False, True]
    torch.save(torch.randn(4, 1, 8), tmp_path / 'nameless.pth')
    classifier = OpenVocabClassifier(classifier=str(tmp_path / 'nameless.pth'), novel=['c'])
    with pytest.raises(ValueError, match=r'nameless\.pth has none'):
        classifier.num_classes  # noqa: B018


def test_what_is_missing_or_does_not_fit_is_told(tmp_path):
    file = tmp_path / 'names.safetensors'
    with pytest.raises(FileNotFoundError, match=r'names\.safetensors.*build_vocabulary'):
        OpenVocabClassifier(classifier=str(file)).logits(torch.randn(1, 8))
    with pytest.raises(ValueError, match='has no vocabulary'):
        OpenVocabClassifier().num_classes  # noqa: B018
    with pytest.raises(ValueError, match='width 8 and the model 12'):
        build().logits(torch.randn(1, 12))
    assert not build().state_dict()  # a vocabulary is no part of a checkpoint


def test_classes_of_a_data_set_must_be_those_of_the_vocabulary():
    classifier = build()
    classifier.check_classes(['a', 'b', 'c', 'd'])
    with pytest.raises(ValueError, match='differ from index 2 on'):
        classifier.check_classes(['a', 'b', 'd', 'c'])
    with pytest.raises(ValueError, match='has 5 classes and the vocabulary 4.*index 4'):
        classifier.check_classes(['a', 'b', 'c', 'd', 'e'])
