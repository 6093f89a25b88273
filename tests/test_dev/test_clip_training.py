"""Contrastive training of a small CLIP."""

import copy

import pytest
import tiny
import torch
from mini_world.clip_training import CLIPPretrainer
from mmengine.optim import build_optim_wrapper
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
    captions = []
    tokenizer = model.tokenizer
    monkeypatch.setattr(
        model, 'tokenizer', lambda texts: captions.extend(texts) or tokenizer(texts)
    )
    model.loss(torch.randn(3, 3, 96, 96), ['plain red ring', 'dotted blue star', 'plain red ring'])
    assert len(captions) == len(set(captions)) == expected
    # in an order that does not depend on which process has which picture
    assert captions[:2] == ['dotted blue star', 'plain red ring']


def test_one_step_trains_all_of_it():
    model = build().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    config = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-2, weight_decay=0.05))
    pictures = list(torch.randint(0, 256, (3, 3, 96, 96), dtype=torch.uint8))
    data = dict(inputs=pictures, name=['cat', 'dog', 'red car'])
    losses = model.train_step(data, build_optim_wrapper(model, config))
    assert set(losses) == {'loss', 'loss_image', 'loss_text', 'match_accuracy'}
    assert not [name for name, value in model.state_dict().items() if value.equal(before[name])]


def test_the_image_tower_alone_runs_in_a_lower_precision(monkeypatch):
    model = build(dtype='bfloat16')
    with pytest.raises(ValueError, match="not 'predict'"):
        model(torch.randn(1, 3, 96, 96), ['cat'], mode='predict')
    seen = {}
    for name in ('image', 'text'):
        encode = getattr(model.clip, f'encode_{name}')

        def spy(inputs, name=name, encode=encode):
            seen[name] = encode(inputs)
            return seen[name]

        monkeypatch.setattr(model.clip, f'encode_{name}', spy)
    losses = model.loss(torch.randn(2, 3, 96, 96), ['cat', 'dog'])
    assert seen['image'].dtype == torch.bfloat16
    assert seen['text'].dtype == losses['loss_image'].dtype == torch.float32


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

    def check(rank):
        losses, found = step(slice(rank, None, 2))
        for key, value in losses.items():
            torch.testing.assert_close(value, expected[key])
        for gradient, whole in zip(found, gradients):
            torch.distributed.all_reduce(gradient)
            torch.testing.assert_close(gradient / 2, whole, atol=1e-4, rtol=1e-3)

    assert in_two_processes(check) == [0, 0]
