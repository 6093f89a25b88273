"""Contrastive training of a small CLIP."""

import copy
from unittest.mock import Mock

import pytest
import tiny
import torch
from mini_world.clip_training import CLIPPretrainer
from tiny_dump import in_two_processes

PREPROCESSOR = dict(type='ImgDataPreprocessor')


def build(**settings):
    """A small model in evaluation mode."""
    model = CLIPPretrainer(tiny.CLIP, data_preprocessor=PREPROCESSOR, **settings)
    for module in model.modules():  # they start at zero and would hide their blocks
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    return model.eval()


def test_pictures_of_one_name_are_positives_of_each_other(monkeypatch):
    model = build(templates=('{}',))
    embeddings = torch.nn.functional.one_hot(torch.tensor([0, 1, 0]), 4).float()
    monkeypatch.setattr(model.clip, 'encode_image', lambda _: embeddings)
    monkeypatch.setattr(model.clip, 'encode_text', lambda _: embeddings[:2])
    model.clip.logit_scale.data.fill_(10.0)  # beyond the maximum, 100
    losses = model.loss(torch.zeros(3, 3, 96, 96), ['cat', 'dog', 'cat'])
    assert losses['loss_image'] < 1e-5  # each picture has one right caption
    # The caption of a cat has two right pictures, which share the probability.
    assert torch.allclose(losses['loss_text'], torch.tensor(2.0).log() / 2 / 2, atol=1e-5)
    assert losses['match_accuracy'] == 100


@pytest.mark.parametrize('count, expected', [(1, 2), (5, 5), (1000, 640)])
def test_captions_of_other_names_stand_beside_those_of_the_batch(monkeypatch, count, expected):
    model = build(templates=('{}',), names='MiniWorldDataset', num_captions=count)
    tokenizer = Mock(wraps=model.tokenizer)
    monkeypatch.setattr(model, 'tokenizer', tokenizer)
    model.loss(torch.randn(3, 3, 96, 96), ['plain red ring', 'dotted blue star', 'plain red ring'])
    captions = sum((list(call.args[0]) for call in tokenizer.call_args_list), [])
    assert len(captions) == len(set(captions)) == expected
    # in an order that does not depend on which process has which picture
    assert captions[:2] == ['dotted blue star', 'plain red ring']


def test_the_image_tower_alone_runs_in_a_lower_precision(monkeypatch):
    model = build(dtype='bfloat16')
    with pytest.raises(ValueError, match="not 'predict'"):
        model(torch.randn(1, 3, 96, 96), ['cat'], mode='predict')
    seen = {}

    def watch(name, encode):
        return lambda inputs: seen.setdefault(name, encode(inputs))

    for name in ('encode_image', 'encode_text'):
        monkeypatch.setattr(model.clip, name, watch(name, getattr(model.clip, name)))
    losses = model.loss(torch.randn(2, 3, 96, 96), ['cat', 'dog'])
    assert seen['encode_image'].dtype == torch.bfloat16
    assert seen['encode_text'].dtype == losses['loss_image'].dtype == torch.float32


def test_two_processes_compare_the_pictures_of_both():
    model = build(names=('cat', 'dog', 'red car', 'owl'), num_captions=4).train()
    state = copy.deepcopy(model.state_dict())
    pictures, names = torch.randn(4, 3, 96, 96), ['cat', 'dog', 'cat', 'red car']

    def step(part):
        torch.manual_seed(5)
        model.load_state_dict(state)
        model.zero_grad()
        losses = model.loss(pictures[part], names[part])
        sum(value for key, value in losses.items() if 'loss' in key).backward()
        return losses, [p.grad for p in model.parameters()]

    expected, gradients = step(slice(None))
    assert all(gradient.any() for gradient in gradients)  # all of it trains

    def check(rank):
        losses, found = step(slice(rank, None, 2))
        torch.testing.assert_close(losses, expected)
        for gradient, whole in zip(found, gradients):
            torch.distributed.all_reduce(gradient)
            torch.testing.assert_close(gradient / 2, whole, atol=1e-4, rtol=1e-3)

    assert in_two_processes(check) == [0, 0]
