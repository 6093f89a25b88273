"""SAM's positions at another image size."""

import pytest
import torch
import torch.nn.functional as F

from mmovsam.checkpoints.resample import resample_positions
from mmovsam.layers import resample_abs_pos, resample_rel_pos

POSITION, HEIGHT = 'teacher.pos_embed', 'teacher.blocks.1.attn.rel_pos_h'
WIDTH, WINDOW = 'teacher.blocks.1.attn.rel_pos_w', 'teacher.blocks.0.attn.rel_pos_h'


def positions(height, width, window=5, channels=6):
    return {
        POSITION: torch.randn(1, height, width, channels),
        HEIGHT: torch.randn(2 * height - 1, 3),
        WIDTH: torch.randn(2 * width - 1, 3),
        WINDOW: torch.randn(2 * window - 1, 3),
        'teacher.neck.0.weight': torch.randn(4, 6, 1, 1),
    }


def resampled(tensors, wanted):
    return resample_positions(tensors, {name: tuple(each.shape) for name, each in wanted.items()})


@pytest.mark.parametrize('size', [(4, 4), (12, 12), (6, 10)])
def test_absolute_positions_are_resized_bicubically_and_relative_ones_linearly(size):
    tensors, wanted = positions(8, 8), positions(*size)
    found = resampled(tensors, wanted)
    assert set(found) == {POSITION, HEIGHT, WIDTH}
    assert all(found[name].shape == wanted[name].shape for name in found)
    maps = F.interpolate(tensors[POSITION].permute(0, 3, 1, 2), size, mode='bicubic')
    assert torch.equal(found[POSITION], maps.permute(0, 2, 3, 1))
    table = F.interpolate(tensors[HEIGHT].T[None], 2 * size[0] - 1, mode='linear')
    assert torch.equal(found[HEIGHT], table[0].T)


def test_what_fits_or_is_of_another_kind_is_left_alone():
    for others in (positions(8, 8), positions(8, 8, window=7), positions(8, 8, channels=12)):
        assert resampled(positions(8, 8), others) == {}
    table, position = torch.randn(27, 4), torch.randn(1, 8, 6, 4)
    assert resample_rel_pos(table, 14) is table and resample_abs_pos(position, (8, 6)) is position
    odd = {POSITION: torch.ones(8, 3), HEIGHT: torch.ones(15, 3)}
    assert resampled(odd, {POSITION: torch.ones(1, 4, 4, 3), HEIGHT: torch.ones(7, 3)}) == {}
