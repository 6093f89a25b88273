"""Text classifiers and their files."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import padded

from mmovsam.checkpoints import save_safetensors
from mmovsam.vocabulary import TextClassifier, load_classifier, save_classifier

EMBEDDINGS = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(0))
FLAT = EMBEDDINGS.flatten(0, 1)
BIAS = torch.tensor([[1.0, 2.0], [3.0, 3.0], [4.0, 5.0]])


@pytest.mark.parametrize(
    'classifier',
    [
        TextClassifier(EMBEDDINGS),
        TextClassifier(EMBEDDINGS, ('cat', 'straße', 'a "quoted" name'), (True, False, None), None),
        TextClassifier(EMBEDDINGS, bias=BIAS),
        TextClassifier(FLAT[:5], ('cat', 'dog'), None, (4, 1), BIAS.flatten()[:5]),
    ],
)
def test_classifier_comes_back_as_it_was_saved(tmp_path, classifier):
    save_classifier(tmp_path / 'c.safetensors', classifier)
    back = load_classifier(tmp_path / 'c.safetensors')
    assert torch.equal(back.embeddings, classifier.embeddings) and len(back) == len(classifier)
    for key in ('names', 'novel', 'counts'):
        assert getattr(back, key) == getattr(classifier, key)
    if classifier.bias is None:
        assert back.bias is None and back.flat_bias().tolist() == [0.0] * len(back.flat()[0])
    else:
        assert torch.equal(back.bias, classifier.bias)


@pytest.mark.parametrize(('bits', 'least'), [(8, 0.9999), (6, 0.998)])
def test_file_of_few_bits_is_small_and_says_almost_the_same(tmp_path, bits, least):
    flat = torch.nn.functional.normalize(torch.randn(200, 256), dim=1)
    classifier = TextClassifier(flat, tuple(map(str, range(100))), None, (2,) * 100)
    save_classifier(tmp_path / 'c.safetensors', classifier, bits)
    back = load_classifier(tmp_path / 'c.safetensors')
    assert (tmp_path / 'c.safetensors').stat().st_size < 200 * 256 * bits / 8 + 4000
    assert back.names == classifier.names and back.counts == classifier.counts
    assert torch.cosine_similarity(back.embeddings, flat).min() > least
    with pytest.raises(ValueError, match='only embeddings .M, D. with counts'):
        save_classifier(tmp_path / 'c.safetensors', TextClassifier(EMBEDDINGS), bits)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=8), st.integers(0, 99))
def test_padding_by_a_class_first_name_is_left_out(counts, seed):
    flat = torch.randn(sum(counts), 4, generator=torch.Generator().manual_seed(seed))
    embeddings = padded(flat, counts)
    classifier = TextClassifier(embeddings, bias=embeddings[..., 0])
    embeddings, back = classifier.flat()
    assert torch.equal(embeddings, flat) and back.tolist() == counts
    assert torch.equal(classifier.flat_bias(), flat[:, 0])


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ((torch.zeros(3, 4),), r'\(K, P, D\).*shape \(3, 4\)'),
        ((torch.zeros(0, 1, 4),), r'shape \(0, 1, 4\)'),
        ((torch.zeros(3, 4), None, None, (1, 1)), r'sum is M.*shape \(3, 4\) and 2 counts'),
        ((torch.zeros(3, 4), None, None, (0, 3)), 'at least 1 each'),
        ((torch.zeros(3, 4), None, None, (1.5, 1.5)), 'at least 1 each'),
        ((torch.zeros(3, 1, 4), None, None, (1, 1, 1)), 'sum is M'),
        ((torch.zeros(3, 4), ('a',), None, (1, 2)), '2 classes has 1 names'),
        ((torch.full((3, 1, 4), float('nan')),), 'NaN'),
        ((EMBEDDINGS, None, (True,)), '3 classes has 1 novel'),
        ((EMBEDDINGS, None, None, None, torch.zeros(3)), 'one number for each name'),
        ((EMBEDDINGS, None, None, None, torch.full((3, 2), torch.nan)), 'NaN'),
    ],
)
def test_classifier_that_does_not_fit_together_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        TextClassifier(*arguments)


@pytest.mark.parametrize(
    'content', [{'state_dict': {'weight': EMBEDDINGS}}, {'state_dict': EMBEDDINGS}, [EMBEDDINGS], 7]
)
def test_file_of_something_else_is_refused(tmp_path, content):
    torch.save(content, tmp_path / 'c.pth')
    with pytest.raises(ValueError, match=r'c\.pth is no text classifier.*build_vocabulary'):
        load_classifier(tmp_path / 'c.pth')
    with pytest.raises(FileNotFoundError, match=r'none\.safetensors.*build_vocabulary'):
        load_classifier(tmp_path / 'none.safetensors')


@pytest.mark.parametrize(
    ('tensors', 'notes'),
    [
        ({'embeddings': EMBEDDINGS}, dict(names='no json')),
        ({'embeddings': EMBEDDINGS}, dict(names='["a"]')),
        ({'embeddings': EMBEDDINGS}, dict(novel='3')),
        ({'embeddings': EMBEDDINGS}, dict(names='null')),
        ({'embeddings': FLAT, 'counts': torch.tensor([3, 4])}, {}),
        ({'embeddings': FLAT, 'counts': torch.tensor([[3, 3]])}, {}),
        ({'embeddings': FLAT, 'counts': torch.tensor([2.5, 3.5])}, {}),
        ({'embeddings.q8': torch.zeros(2, 4, dtype=torch.uint8), 'counts': torch.ones(2)}, {}),
    ],
)
def test_broken_file_is_refused_by_its_name(tmp_path, tensors, notes):
    save_safetensors(tensors, tmp_path / 'c.safetensors', notes)
    with pytest.raises(ValueError, match=r'c\.safetensors is broken'):
        load_classifier(tmp_path / 'c.safetensors')
