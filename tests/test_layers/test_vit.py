"""SAM's transformer block against plain computations."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmovsam.layers import ViTBlock, resample_abs_pos, resample_rel_pos


def random_(module):
    """Random values for every parameter; the position tables start at zero otherwise."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return module.eval()


def explicit_attention(attn, x):
    """`RelPosAttention` as a loop over pairs of positions."""
    batch, height, width, channels = x.shape
    heads, size = attn.num_heads, channels // attn.num_heads
    q, k, v = attn.qkv(x).reshape(batch, height * width, 3, heads, size).unbind(2)
    logits = torch.zeros(batch, heads, height * width, height * width)
    for i in range(height * width):
        for j in range(height * width):
            dy, dx = i // width - j // width, i % width - j % width
            relative = attn.rel_pos_h[dy + height - 1] + attn.rel_pos_w[dx + width - 1]
            scaled = (q[:, i] * k[:, j]).sum(-1) / math.sqrt(size)
            logits[:, :, i, j] = scaled + (q[:, i] * relative).sum(-1)
    out = torch.einsum('bhij,bjhc->bihc', logits.softmax(-1), v)
    return attn.proj(out.reshape(batch, height, width, channels))


@torch.no_grad()
@given(height=st.integers(1, 9), width=st.integers(1, 9), window=st.integers(1, 5))
def test_windows_with_padding_equal_a_loop_over_windows(height, width, window):
    block = random_(ViTBlock(8, 2, window_size=window, input_size=(height, width)))
    x = torch.randn(2, height, width, 8)
    normed = block.norm1(x)
    attended = torch.zeros_like(x)
    for top in range(0, height, window):
        for left in range(0, width, window):
            part = normed[:, top : top + window, left : left + window]
            # Padding takes part in attention, as zeros after the norm.
            padded = torch.zeros(2, window, window, 8)
            padded[:, : part.shape[1], : part.shape[2]] = part
            out = block.attn(padded)[:, : part.shape[1], : part.shape[2]]
            attended[:, top : top + window, left : left + window] = out
    want = x + attended
    want = want + block.mlp(block.norm2(want))
    assert torch.allclose(block(x), want, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize('size', [(4, 4), (3, 5)])
def test_global_block_equals_a_loop_over_pairs_of_positions(size):
    block = random_(ViTBlock(8, 2, window_size=0, input_size=size))
    x = torch.randn(2, *size, 8)
    want = x + explicit_attention(block.attn, block.norm1(x))
    want = want + block.mlp(block.norm2(want))
    assert torch.allclose(block(x), want, atol=1e-4)


def test_resampled_tables_keep_a_constant_and_have_the_wanted_size():
    assert resample_rel_pos(torch.full((27, 4), 2.5), 64).shape == (127, 4)
    assert torch.allclose(resample_rel_pos(torch.full((27, 4), 2.5), 64), torch.tensor(2.5))
    resampled = resample_abs_pos(torch.full((1, 8, 6, 4), 2.5), (16, 10))
    assert resampled.shape == (1, 16, 10, 4)
    assert torch.allclose(resampled, torch.tensor(2.5))
    table, position = torch.randn(27, 4), torch.randn(1, 8, 6, 4)
    assert resample_rel_pos(table, 14) is table and resample_abs_pos(position, (8, 6)) is position
