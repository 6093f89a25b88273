"""How embeddings become bytes, what is lost, and of which inputs they are."""

import math

import pytest
import tiny
import torch
from mmdet.registry import MODELS

from mmovsam.teacher_features import DTYPES, encode, input_settings, num_bytes


@pytest.mark.parametrize('dtype, error', [('float32', 0), ('float16', 2**-11), ('bfloat16', 2**-8)])
def test_floating_point_values_are_rounded_to_their_type(dtype, error):
    embedding = torch.randn(5, 3, 7)
    encoded = encode(embedding, dtype)
    assert len(encoded.data) == num_bytes((5, 3, 7), dtype) == 105 * (4 if error == 0 else 2)
    decoded = encoded.decode()
    assert decoded.dtype == torch.float32
    assert ((decoded - embedding).abs() <= error * embedding.abs()).all()


def test_int8_is_off_by_half_a_step_of_its_channel_at_most():
    embedding = torch.randn(6, 9, 5) * torch.logspace(-3, 3, 6)[:, None, None] + 4
    assert len(encode(embedding, 'int8').data) == num_bytes((6, 9, 5), 'int8') < 6 * 45 + 6 * 9
    low, high = embedding.aminmax(dim=-1)
    step = (high.amax(-1) - low.amin(-1)) / 255
    error = (encode(embedding, 'int8').decode() - embedding).abs().amax((1, 2))
    assert (error <= 0.501 * step + 1e-6 * embedding.abs().amax((1, 2))).all()
    constant = torch.full((2, 1, 3), -7.25)
    assert torch.equal(encode(constant, 'int8').decode(), constant)


@pytest.mark.parametrize(
    ('value', 'dtype', 'message'),
    [
        *((value, dtype, 'not finite') for dtype in DTYPES for value in (math.nan, math.inf)),
        (1e5, 'float16', 'float16.*bfloat16'),
        (0.0, 'int4', "dtype is 'int4'"),
    ],
)
def test_what_a_type_cannot_hold_is_refused(value, dtype, message):
    embedding = torch.zeros(2, 3, 3)
    embedding[1, 1, 1] = value
    with pytest.raises(ValueError, match=message):
        encode(embedding, dtype)


def test_settings_of_the_input_are_what_a_pixel_becomes():
    known = input_settings(MODELS.build(tiny.PREPROCESSOR))
    assert known['image_size'] == tiny.SIZE
    assert known['pixel'] == pytest.approx(
        [(255 - 123.675) / 58.395, (128 - 116.28) / 57.12, (0 - 103.53) / 57.375], abs=1e-4
    )
    for change in (dict(image_size=128), dict(std=(58, 57.12, 57.375)), dict(bgr_to_rgb=False)):
        assert input_settings(MODELS.build({**tiny.PREPROCESSOR, **change})) != known
    resize = dict(type='BatchSyncRandomResize', random_size_range=(64, 96), interval=1)
    with pytest.raises(ValueError, match='batch_augments'):
        input_settings(MODELS.build(dict(type='DetDataPreprocessor', batch_augments=[resize])))
