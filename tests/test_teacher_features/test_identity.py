"""What tells one teacher, and one kind of input, from another."""

import pytest
import tiny
import torch
from mmdet.registry import MODELS

from mmovsam.teacher_features import input_settings, weights_fingerprint


def build(config):
    torch.manual_seed(0)
    return MODELS.build(config)


def test_any_changed_weight_changes_the_fingerprint():
    teacher = build(tiny.SAM_ENCODER)
    known = {weights_fingerprint(each) for each in (teacher, build(tiny.SAM_ENCODER))}
    assert len(known) == 1
    for parameter in teacher.parameters():
        parameter.view(-1)[-1] += 1e-3
        known.add(weights_fingerprint(teacher))
    assert len(known) == 1 + len(list(teacher.parameters()))
    assert weights_fingerprint(teacher.half()) not in known


@pytest.mark.parametrize(
    'change',
    [
        dict(image_size=128),
        dict(mean=(123.675, 116.28, 100)),
        dict(std=(58, 57.12, 57.375)),
        dict(bgr_to_rgb=False),
    ],
)
def test_other_inputs_have_other_settings(change):
    assert input_settings(build({**tiny.PREPROCESSOR, **change})) != input_settings(
        build(tiny.PREPROCESSOR)
    )


def test_settings_are_what_a_pixel_becomes():
    settings = input_settings(build(tiny.PREPROCESSOR))
    assert settings['image_size'] == tiny.SIZE
    assert settings['pixel'] == pytest.approx(
        [(255 - 123.675) / 58.395, (128 - 116.28) / 57.12, (0 - 103.53) / 57.375], abs=1e-4
    )


def test_batch_augmentation_is_refused():
    config = dict(
        type='DetDataPreprocessor',
        batch_augments=[dict(type='BatchSyncRandomResize', random_size_range=(64, 96), interval=1)],
    )
    with pytest.raises(ValueError, match='batch_augments'):
        input_settings(build(config))
