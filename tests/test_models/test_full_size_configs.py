"""The models of the full-size configs, built without any file and without memory."""

import functools
from pathlib import Path

import pytest
import reference
import torch
from mmdet.registry import MODELS
from mmengine.config import Config

from mmovsam.pretrained import MODELS as PRETRAINED

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
TOWERS = {  # channels, width of CLIP's space, side of the attention pooling, side of CLIP's images
    'rn50': ((256, 512, 1024, 2048), 1024, 7, 224),
    'rn50x64': ((512, 1024, 2048, 4096), 1024, 14, 448),
    'convnext_large': ((192, 384, 768, 1536), 768, None, 320),
    'vit_l14': ((1024,) * 4, 768, None, 224),
}


def load(name):
    return Config.fromfile(CONFIGS / f'{name}.py')


@functools.cache
def build(name):
    with torch.device('meta'):
        return MODELS.build(load(name).model)


def count(module, trainable=False):
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trainable)


def shapes(model, size=1024):
    """What a model makes of a picture, in shapes."""
    with torch.no_grad(), torch.device('meta'):
        features = model(torch.zeros(1, 3, size, size), None, mode='tensor')
    features = (features,) if isinstance(features, torch.Tensor) else features
    return [tuple(feature.shape) for feature in features]


@pytest.mark.parametrize('name, region_size', [('ovsam_lvis', 7), ('ovsam_coco', 12)])
def test_ovsam_has_the_papers_parameters_and_trains_region_neck_and_head(name, region_size):
    # Parameters, trainable or frozen; no buffers (position embedding of the neck, batch norm's
    # statistics, the prompt encoder's random projection, the text classifier).
    model = build(name)
    assert count(model) == 304_046_908
    assert count(model.classifier) == 0
    trained = count(model.region_neck) + count(model.head) - count(model.head.label_mlp)
    assert count(model, trainable=True) == trained
    assert {i.output_size for i in model.head.roi_extractor.roi_layers} == {(region_size,) * 2}


@pytest.mark.parametrize('model', PRETRAINED.values(), ids=PRETRAINED)
def test_named_models_have_the_parameters_that_are_told_of_them(model):
    assert count(build(model.config.removesuffix('.py'))) == model.parameters


def test_ovsam_has_names_and_shapes_of_the_released_files():
    ours = {
        name: list(tensor.shape)
        for name, tensor in build('ovsam_lvis').state_dict().items()
        if not name.startswith(('backbone.', 'prompt_encoder.'))
    }
    assert ours == reference.by_our_names(reference.shapes('ovsam_rn50x16'))


@pytest.mark.parametrize('tower', ['', 'rn50x64', 'vit_l14'])
def test_distiller_trains_the_neck_only_to_sams_embedding(tower):
    model = build(f'towers/sam2clip_{tower}' if tower else 'sam2clip_rn50x16')
    assert count(model.teacher) == 637_026_048  # the image encoder of SAM ViT-H
    assert count(model, trainable=True) == count(model.neck)
    assert tower or count(model.neck) == 128_844_768
    assert shapes(model) == [(1, 256, 64, 64)]


@pytest.mark.parametrize('name', TOWERS)
def test_ovsam_on_other_towers_has_parts_that_fit_together(name):
    channels, width, grid, side = TOWERS[name]
    model = build(f'towers/ovsam_{name}')
    assert model.backbone.channels == channels
    assert model.backbone.embed_dim == model.head.embed_dim == width
    assert getattr(model.backbone.tower, 'grid', None) == grid
    assert model.backbone.image_size == (side, side)
    assert [layer.output_size for layer in model.head.roi_extractor.roi_layers] == [(7, 7)] * 4
    pyramid = [(1, 256, 1024 // stride, 1024 // stride) for stride in (4, 8, 16, 32)]
    assert shapes(model) == [(1, 256, 64, 64), (1, channels[-1], 32, 32), *pyramid]
    if name == 'vit_l14':  # without, OpenAI's weights would load and its features be wrong
        blocks = model.backbone.visual.transformer.resblocks
        assert {type(block.mlp.gelu).__name__ for block in blocks} == {'QuickGELU'}


@pytest.mark.parametrize('name', TOWERS)
def test_ovsam_takes_tower_and_adapter_of_its_first_stage(name):
    first, second = load(f'towers/sam2clip_{name}'), load(f'towers/ovsam_{name}')
    assert first.model.backbone == second.model.backbone == second.backbone
    adapter = second.model.neck.init_cfg
    assert adapter.prefix == 'neck'  # of SAM2CLIPDistiller
    assert adapter.checkpoint == f'work_dirs/sam2clip_{name}/epoch_{first.train_cfg.max_epochs}.pth'
    tower, text = second.model.backbone, second.text_encoder
    assert tower.init_cfg.checkpoint == f'open_clip://{tower.model}:{text.checkpoint}'
    assert second.model.classifier.text_encoder == text
    assert text.model.removesuffix('-quickgelu') == tower.model.removesuffix('-quickgelu')


@pytest.mark.parametrize('name, data', [('lvis', 'OVLVISDataset'), ('coco', 'OVCocoDataset')])
def test_baseline_has_the_papers_number_of_parameters(name, data):
    model = build(f'sam_clip_{name}')
    assert round(count(model) / 1e6) == 808
    assert model.region == 'image' and model.cropper.margin == 0
    assert model.clip.image_size == (384, 384)
    assert shapes(model) == [(1, 256, 64, 64)]
    assert load(f'sam_clip_{name}').test_dataloader.dataset.type == data
