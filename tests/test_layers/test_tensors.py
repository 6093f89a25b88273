"""Functions of tensors: values of masks at points."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from mmcv.ops import point_sample

from mmovsam.layers import sample_masks


@given(
    num=st.integers(0, 3),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    points=st.integers(0, 20),
    seed=st.integers(0, 2**31),
)
def test_values_equal_those_of_float_masks_also_on_and_beyond_the_edge(
    num, height, width, points, seed
):
    generator = torch.Generator().manual_seed(seed)
    masks = torch.randint(2, (num, height, width), generator=generator, dtype=torch.uint8)
    coords = torch.rand(num, points, 2, generator=generator) * 1.4 - 0.2
    coords[:, :1] = coords[:, :1].round()
    found = sample_masks(masks, coords)
    assert found.shape == (num, points)
    if num and points:
        wanted = point_sample(masks[:, None].float(), coords)[:, 0]
        assert torch.allclose(found, wanted, atol=1e-5)
