"""SAM's positions at another image size."""

import pytest
import torch
import torch.nn.functional as F

from mmovsam.checkpoints.resample import resample_positions

POSITION, HEIGHT = 'teacher.pos_embed', 'teacher.blocks.1.attn.rel_pos_h'
WIDTH, WINDOW = 'teacher.blocks.1.attn.rel_pos_w', 'teacher.blocks.0.attn.rel_pos_h'


def positions(height, width, window=5):
    return {
        POSITION: torch.randn(1, height, width, 6),
        HEIGHT: torch.randn(2 * height - 1, 3),
        WIDTH: torch.randn(2 * width - 1, 3),
        WINDOW: torch.randn(2 * window - 1, 3),
        'teacher.neck.0.weight': torch.randn(4, 6, 1, 1),
    }


def shapes(tensors):
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


@pytest.mark.parametrize('size', [(4, 4), (12, 12), (6, 10)])
def test_positions_get_the_size_of_the_model(size):
    tensors, wanted = positions(8, 8), positions(*size)
    resampled = resample_positions(tensors, shapes(wanted))
    assert shapes(resampled) == {name: tuple(wanted[name].shape) for name in resampled}
    assert set(resampled) == {POSITION, HEIGHT, WIDTH}


def test_absolute_positions_are_bicubic_and_relative_ones_linear():
    tensors = positions(8, 8)
    resampled = resample_positions(tensors, shapes(positions(6, 6)))
    maps = tensors[POSITION].permute(0, 3, 1, 2)
    maps = F.interpolate(maps, (6, 6), mode='bicubic', align_corners=False)
    assert torch.equal(resampled[POSITION], maps.permute(0, 2, 3, 1))
    table = F.interpolate(tensors[HEIGHT].T[None], 11, mode='linear', align_corners=False)
    assert torch.equal(resampled[HEIGHT], table[0].T)


def test_what_fits_and_tables_of_another_window_or_width_are_left_alone():
    tensors = positions(8, 8)
    assert resample_positions(tensors, shapes(tensors)) == {}
    assert resample_positions(tensors, shapes(positions(8, 8, window=7))) == {}
    tensors = {POSITION: torch.randn(1, 8, 8, 6), HEIGHT: torch.randn(15, 3)}
    assert resample_positions(tensors, {POSITION: (1, 4, 4, 12), HEIGHT: (7, 6)}) == {}


@pytest.mark.parametrize('shape', [(), (3,), (8, 3), (1, 2, 8, 3)])
def test_positions_of_another_kind_are_left_alone(shape):
    wanted = {POSITION: (1, 4, 4, 3), HEIGHT: (7, 3)}
    odd = torch.ones(shape)
    resampled = resample_positions({POSITION: odd, HEIGHT: torch.ones(15, 3)}, wanted)
    assert HEIGHT not in resampled
    assert resample_positions({POSITION: torch.ones(1, 4, 4, 3), HEIGHT: odd}, wanted) == {}
