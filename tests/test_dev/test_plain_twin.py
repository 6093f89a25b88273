"""Every fast path equals the textbook twin, in value and, where it trains, in gradient."""

import pytest
import tiny
import torch
from benchmarks import plain_twin
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.registry import MODELS

from mmovsam.layers import MaskDecoder, ViTBlock, mask_decoder, vit
from mmovsam.prompts import Prompts

NEAR = 1e-5


def random_(module):
    """Random values for every parameter: what starts at zero would hide a fault."""
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        deviation = 0.5 / max(parameter[0].numel(), 1) ** 0.5 if parameter.dim() > 1 else 0.3
        parameter.data = torch.randn(parameter.shape, generator=generator) * deviation
    return module.eval()


def ovsam():
    """A small OVSAM, random throughout."""
    model = random_(MODELS.build(tiny.OVSAM))
    model.set_vocabulary(tiny.vocabulary())
    return model


def difference(found, wanted):
    """The largest, relative to the largest value that is wanted."""
    assert found.shape == wanted.shape
    if wanted.numel() == 0:
        return 0.0
    return float((found - wanted).abs().max() / wanted.abs().max().clamp(min=1e-30))


def gradients(module, inputs, outputs):
    """Of all parameters and inputs, for a loss that weighs every output."""
    loss = sum((output * (1 + output.detach().cos())).sum() for output in outputs)
    return torch.autograd.grad(loss, [*module.parameters(), *inputs], allow_unused=True)


def decode(decoder, num, points, size, dense, several=False):
    """Inputs of a decoder, all random, and its outputs."""
    width = decoder.mask_tokens.embedding_dim
    generator = torch.Generator().manual_seed(num * 100 + points)
    shapes = [(1, width, *size)] * 2 + [(num, points, width), (dense, width, *size), (1, width)]
    inputs = [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]
    outputs = decoder(*inputs)
    outputs = [outputs.low_res_logits, outputs.extra_tokens, outputs.iou_predictions]
    return inputs, outputs if several else outputs[:2]


@torch.no_grad()
@settings(max_examples=25)
@given(
    num=st.integers(1, 7),
    points=st.integers(0, 12),
    size=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    shared=st.booleans(),
    several=st.booleans(),
)
def test_mask_decoder_equals_its_twin_for_any_number_of_prompts_and_points(
    num, points, size, shared, several
):
    decoder = random_(MaskDecoder(16, 4 if several else 1, several, num_heads=4, mlp_channels=32))
    dense = 1 if shared else num
    both = (decode(m, num, points, size, dense, several)[1] for m in (decoder, plain_twin(decoder)))
    assert all(difference(ours, theirs) < NEAR for ours, theirs in zip(*both))


@pytest.mark.parametrize('num, points', [(3, 2), (2, 20)])
@pytest.mark.parametrize('shared', [True, False])
def test_mask_decoder_has_the_gradients_of_its_twin(num, points, shared):
    decoder = random_(MaskDecoder(16, num_heads=4, mlp_channels=32))
    found, wanted = (
        gradients(module, *decode(module, num, points, (5, 3), 1 if shared else num))
        for module in (decoder, plain_twin(decoder))
    )
    largest = max(theirs.abs().max() for theirs in wanted if theirs is not None)
    for ours, theirs in zip(found, wanted):
        # The keys' bias has no influence: the twin's gradient is rounding, ours may be none.
        ours, theirs = (torch.zeros(()) if g is None else g for g in (ours, theirs))
        assert (ours - theirs).abs().max() < NEAR * largest


@torch.no_grad()
@pytest.mark.parametrize('shared', [1, 5])
def test_few_prompts_and_positions_at_a_time_give_what_the_twin_gives_at_once(monkeypatch, shared):
    decoder = random_(MaskDecoder(128, 4, True, num_heads=2, mlp_channels=32))
    monkeypatch.setattr(mask_decoder, 'VALUES_AT_ONCE', 2 * 128 * 30)
    monkeypatch.setattr(mask_decoder, 'POSITIONS_AT_ONCE', 7)
    both = (decode(m, 5, 3, (6, 5), shared, True)[1] for m in (decoder, plain_twin(decoder)))
    assert all(difference(ours, theirs) < NEAR for ours, theirs in zip(*both))


@settings(max_examples=25)
@given(
    batch=st.integers(1, 3),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    window=st.integers(0, 5),
    at_once=st.sampled_from([1, 100, 2**22]),
)
def test_transformer_block_equals_its_twin_for_any_grid_and_window(
    batch, height, width, window, at_once
):
    block = random_(ViTBlock(8, 2, window_size=window, input_size=(height, width)))
    generator = torch.Generator().manual_seed(height * 10 + width)
    x = torch.randn(batch, height, width, 8, generator=generator).requires_grad_()
    before = vit.BIASES_AT_ONCE, vit.POSITIONS_AT_ONCE
    vit.BIASES_AT_ONCE, vit.POSITIONS_AT_ONCE = at_once, max(1, at_once // 8)
    try:
        found, wanted = block(x), plain_twin(block)(x)
        assert difference(found, wanted) < NEAR
        with torch.no_grad():  # another path
            assert difference(block(x), wanted) < NEAR
            strided = x.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
            assert difference(block(strided), wanted) < NEAR
        ours, theirs = (gradients(block, [x], [output]) for output in (found, wanted))
    finally:
        vit.BIASES_AT_ONCE, vit.POSITIONS_AT_ONCE = before
    largest = max(gradient.abs().max() for gradient in theirs)
    assert all((a - b).abs().max() < NEAR * largest for a, b in zip(ours, theirs))


@torch.no_grad()
@pytest.mark.parametrize('num', [1, 6])
def test_whole_model_equals_its_twin(num):
    model = ovsam()
    model.test_cfg.update(head_region='prompt', clip_region='prompt')  # of masks they would jump
    twin = plain_twin(model)
    torch.manual_seed(num)
    image = torch.randn(1, 3, tiny.SIZE, tiny.SIZE)
    corner = torch.rand(num, 2) * 60
    prompts = Prompts(bboxes=torch.cat((corner, corner + 30), dim=1))
    ours, theirs = (m.recognize(m.extract_feat(image), prompts) for m in (model, twin))
    for name in ('low_res_logits', 'head_logits', 'clip_logits'):
        assert difference(getattr(ours, name), getattr(theirs, name)) < NEAR, name


def test_twin_shares_its_parameters_and_leaves_the_model_as_it_is():
    model = ovsam()
    kinds = [type(module) for module in model.modules()]
    twin = plain_twin(model)
    assert [type(module) for module in model.modules()] == kinds
    for (name, ours), (_, theirs) in zip(model.named_parameters(), twin.named_parameters()):
        assert ours is theirs, name
