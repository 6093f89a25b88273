"""The models of the paper, built from the configs without any file and without memory."""

import functools
from pathlib import Path

import pytest
import reference
import torch
from mmdet.registry import MODELS
from mmengine.config import Config

from mmovsam.pretrained import MODELS as PRETRAINED

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'


@functools.cache
def build(name):
    with torch.device('meta'):
        return MODELS.build(Config.fromfile(CONFIGS / f'{name}.py').model)


def count(module, trainable=False):
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trainable)


@pytest.mark.parametrize('name', ['ovsam_lvis', 'ovsam_coco'])
def test_ovsam_has_the_papers_number_of_parameters(name):
    # Parameters, trainable or frozen; no buffers (position embedding of the neck, batch norm's
    # statistics, the prompt encoder's random projection, the text classifier).
    model = build(name)
    assert count(model) == 304_046_908
    assert count(model.classifier) == 0


@pytest.mark.parametrize('model', PRETRAINED.values(), ids=PRETRAINED)
def test_named_models_have_the_parameters_that_are_told_of_them(model):
    assert count(build(model.config.removesuffix('.py'))) == model.parameters


def test_ovsam_trains_region_neck_and_head_only():
    model = build('ovsam_lvis')
    assert count(model, trainable=True) == count(model.region_neck) + count(
        model.head, trainable=True
    )
    assert count(model.head) - count(model.head, trainable=True) == count(model.head.label_mlp)


def test_ovsam_has_names_and_shapes_of_the_released_files():
    released = reference.shapes('ovsam_rn50x16')
    ours = {
        name: list(tensor.shape)
        for name, tensor in build('ovsam_lvis').state_dict().items()
        if not name.startswith(('backbone.', 'prompt_encoder.'))
    }
    assert ours == reference.by_our_names(released)


def test_region_size_is_12_on_coco_and_7_on_lvis():
    for name, size in (('ovsam_coco', 12), ('ovsam_lvis', 7)):
        layers = build(name).head.roi_extractor.roi_layers
        assert [layer.output_size for layer in layers] == [(size, size)] * 4


def test_distiller_trains_the_neck_only():
    model = build('sam2clip_rn50x16')
    assert count(model.teacher) == 637_026_048  # the image encoder of SAM ViT-H
    assert count(model, trainable=True) == count(model.neck) == 128_844_768
