"""The configs of other CLIP towers and of the baselines, built without any file and memory."""

import functools
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config

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
    config = load(name)
    with torch.device('meta'):
        return MODELS.build(config.model)


def shapes(model, size=1024):
    """What a model makes of a picture, in shapes."""
    with torch.no_grad(), torch.device('meta'):
        features = model(torch.zeros(1, 3, size, size), None, mode='tensor')
    features = (features,) if isinstance(features, torch.Tensor) else features
    return [tuple(feature.shape) for feature in features]


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


@pytest.mark.parametrize('name', ['rn50x64', 'vit_l14'])
def test_adapter_on_other_towers_learns_sams_embedding(name):
    model = build(f'towers/sam2clip_{name}')
    trained = {key.split('.')[0] for key, value in model.named_parameters() if value.requires_grad}
    assert trained == {'neck'}
    assert shapes(model) == [(1, 256, 64, 64)]


@pytest.mark.parametrize('name', TOWERS)
def test_ovsam_takes_tower_and_adapter_of_its_first_stage(name):
    first, second = load(f'towers/sam2clip_{name}'), load(f'towers/ovsam_{name}')
    assert first.model.backbone == second.model.backbone == second.backbone
    adapter = second.model.neck.init_cfg
    assert adapter.prefix == 'neck'  # of SAM2CLIPDistiller
    assert adapter.checkpoint == f'work_dirs/sam2clip_{name}/epoch_{first.train_cfg.max_epochs}.pth'
    text = second.text_encoder
    for config in (first, second):
        tower = config.model.backbone
        assert tower.init_cfg.checkpoint == f'open_clip://{tower.model}:{text.checkpoint}'
    assert second.model.classifier.text_encoder == text
    assert text.model.removesuffix('-quickgelu') == tower.model.removesuffix('-quickgelu')


def test_vit_of_openai_has_its_quick_activation():
    # Without, its weights would load and its features be wrong.
    model = build('towers/ovsam_vit_l14')
    blocks = model.backbone.visual.transformer.resblocks
    assert {type(block.mlp.gelu).__name__ for block in blocks} == {'QuickGELU'}


@pytest.mark.parametrize('name', ['sam_clip_lvis', 'sam_clip_coco'])
def test_baseline_has_the_papers_number_of_parameters(name):
    model = build(name)
    total = sum(parameter.numel() for parameter in model.parameters())
    assert round(total / 1e6) == 808
    assert model.region == 'image' and model.cropper.margin == 0
    assert model.clip.image_size == (384, 384)
    assert shapes(model) == [(1, 256, 64, 64)]
    dataset = load(name).test_dataloader.dataset.type
    assert dataset == {'sam_clip_lvis': 'OVLVISDataset', 'sam_clip_coco': 'OVCocoDataset'}[name]
