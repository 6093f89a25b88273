import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import padded

from mmovsam.checkpoints import save_safetensors
from mmovsam.vocabulary import TextClassifier, load_classifier, save_classifier

EMBEDDINGS = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize('names', [None, ('cat', 'straße', 'a "quoted" name')])
@pytest.mark.parametrize('novel', [None, (True, False, None)])
def test_classifier_comes_back_as_it_was_saved(tmp_path, names, novel):
    save_classifier(tmp_path / 'c.safetensors', TextClassifier(EMBEDDINGS, names, novel))
    back = load_classifier(tmp_path / 'c.safetensors')
    assert torch.equal(back.embeddings, EMBEDDINGS) and len(back) == 3
    assert back.names == names and back.novel == novel


@pytest.mark.parametrize('names', [None, ('cat', 'dog')])
def test_names_of_different_number_come_back_as_they_were_saved(tmp_path, names):
    flat = EMBEDDINGS.flatten(0, 1)[:5]
    save_classifier(tmp_path / 'c.safetensors', TextClassifier(flat, names, None, (4, 1)))
    back = load_classifier(tmp_path / 'c.safetensors')
    assert torch.equal(back.embeddings, flat) and len(back) == 2
    assert back.names == names and back.counts == (4, 1)


@pytest.mark.parametrize(('bits', 'least'), [(8, 0.9999), (6, 0.998)])
def test_file_of_few_bits_is_small_and_says_almost_the_same(tmp_path, bits, least):
    flat = torch.nn.functional.normalize(torch.randn(200, 256), dim=1)
    classifier = TextClassifier(flat, tuple(map(str, range(100))), None, (2,) * 100)
    save_classifier(tmp_path / 'c.safetensors', classifier, bits)
    back = load_classifier(tmp_path / 'c.safetensors')
    assert (tmp_path / 'c.safetensors').stat().st_size < 200 * 256 * bits / 8 + 4000
    assert back.names == classifier.names and back.counts == classifier.counts
    assert torch.cosine_similarity(back.embeddings, flat).min() > least


def test_few_bits_are_for_flat_embeddings(tmp_path):
    with pytest.raises(ValueError, match='only embeddings .M, D. with counts'):
        save_classifier(tmp_path / 'c.safetensors', TextClassifier(EMBEDDINGS), bits=8)


def test_bias_comes_back_and_belongs_to_names_without_repetitions(tmp_path):
    padded = EMBEDDINGS.clone()
    padded[1, 1] = padded[1, 0]
    bias = torch.tensor([[1.0, 2.0], [3.0, 3.0], [4.0, 5.0]])
    save_classifier(tmp_path / 'c.safetensors', TextClassifier(padded, bias=bias))
    back = load_classifier(tmp_path / 'c.safetensors')
    assert torch.equal(back.bias, bias)
    assert back.flat_bias().tolist() == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert TextClassifier(padded).flat_bias().tolist() == [0.0] * 5
    flat = TextClassifier(EMBEDDINGS[0], counts=(1, 1), bias=torch.tensor([1.0, 2.0]))
    assert flat.flat_bias().tolist() == [1.0, 2.0]


@pytest.mark.parametrize('bias', [torch.zeros(3), torch.zeros(2, 2), torch.full((3, 2), torch.nan)])
def test_bias_that_does_not_fit_is_refused(bias):
    with pytest.raises(ValueError, match='one number for each name|NaN'):
        TextClassifier(EMBEDDINGS, bias=bias)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=8), st.integers(0, 99))
def test_padding_by_a_class_first_name_is_left_out(counts, seed):
    random = torch.Generator().manual_seed(seed)
    flat = torch.randn(sum(counts), 4, generator=random)
    embeddings, back = TextClassifier(padded(flat, counts)).flat()
    assert torch.equal(embeddings, flat) and back.tolist() == counts


@pytest.mark.parametrize('content', [EMBEDDINGS.half(), {'embeddings': EMBEDDINGS.half()}])
def test_bare_tensor_of_a_pth_file_is_read_as_float(tmp_path, content):
    torch.save(content, tmp_path / 'c.pth')
    back = load_classifier(tmp_path / 'c.pth')
    assert back.embeddings.dtype == torch.float32 and back.names is None and back.novel is None
    assert torch.equal(back.embeddings, EMBEDDINGS.half().float())


@pytest.mark.parametrize(
    'arguments, message',
    [
        ((torch.zeros(3, 4),), r'\(K, P, D\).*shape \(3, 4\)'),
        ((torch.zeros(0, 1, 4),), r'shape \(0, 1, 4\)'),
        ((torch.zeros(3, 4), None, None, (1, 1)), r'sum is M.*shape \(3, 4\) and 2 counts'),
        ((torch.zeros(3, 4), None, None, (0, 3)), 'at least 1 each'),
        ((torch.zeros(3, 4), None, None, (1.5, 1.5)), 'at least 1 each'),
        ((torch.zeros(3, 1, 4), None, None, (1, 1, 1)), 'sum is M'),
        ((torch.zeros(3, 4), ('a',), None, (1, 2)), '2 classes has 1 names'),
        ((torch.full((3, 1, 4), float('nan')),), 'NaN'),
        ((EMBEDDINGS, ('a', 'b')), '3 classes has 2 names'),
        ((EMBEDDINGS, None, (True,)), '3 classes has 1 novel'),
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


@pytest.mark.parametrize(
    'notes', [dict(names='no json'), dict(names='["a"]'), dict(novel='3'), dict(names='null')]
)
def test_broken_names_in_a_file_are_refused_with_the_file(tmp_path, notes):
    save_safetensors({'embeddings': EMBEDDINGS}, tmp_path / 'c.safetensors', notes)
    with pytest.raises(ValueError, match=r'c\.safetensors is broken'):
        load_classifier(tmp_path / 'c.safetensors')


@pytest.mark.parametrize('counts', [[3, 4], [[3, 3]], [2.5, 3.5]])
def test_broken_counts_in_a_file_are_refused_with_the_file(tmp_path, counts):
    tensors = {'embeddings': EMBEDDINGS.flatten(0, 1), 'counts': torch.tensor(counts)}
    save_safetensors(tensors, tmp_path / 'c.safetensors')
    with pytest.raises(ValueError, match=r'c\.safetensors is broken'):
        load_classifier(tmp_path / 'c.safetensors')


def test_missing_file_is_named_with_the_tool_that_makes_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'none\.safetensors.*build_vocabulary'):
        load_classifier(tmp_path / 'none.safetensors')
