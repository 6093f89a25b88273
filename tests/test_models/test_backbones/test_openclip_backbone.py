"""open_clip's towers as pyramids."""

import open_clip
import pytest
import torch
import torch.nn.functional as F
from mmcv.ops import roi_align
from mmdet.registry import MODELS
from mmengine.registry import init_default_scope

TEXT = dict(context_length=16, vocab_size=49408, width=16, heads=2, layers=1)
VIT = dict(
    embed_dim=24,
    vision_cfg=dict(image_size=64, layers=3, width=48, head_width=16, patch_size=16),
    text_cfg=TEXT,
)
CONVNEXT = dict(
    embed_dim=24,
    vision_cfg=dict(
        timm_model_name='test_convnext', timm_pool='', timm_proj='linear', image_size=64
    ),
    text_cfg=TEXT,
)
RESNET = dict(
    embed_dim=24,
    vision_cfg=dict(image_size=96, layers=[1, 2, 1, 1], width=8, head_width=64),
    text_cfg=TEXT,
)
TOWERS = dict(vit=VIT, convnext=CONVNEXT, resnet=RESNET)


def build(model, **settings):
    init_default_scope('mmdet')
    torch.manual_seed(0)
    backbone = MODELS.build(dict(type='OpenCLIPBackbone', model=model, **settings))
    for module in backbone.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
            torch.nn.init.normal_(module.running_mean)
    return backbone


@torch.no_grad()
@pytest.mark.parametrize('name', TOWERS)
def test_four_maps_at_strides_4_to_32(name):
    backbone = build(TOWERS[name])
    maps = backbone(torch.randn(2, 3, 64, 96))
    assert backbone.strides == (4, 8, 16, 32)
    assert [tuple(m.shape) for m in maps] == [
        (2, c, 64 // s, 96 // s) for c, s in zip(backbone.channels, backbone.strides)
    ]


@pytest.mark.parametrize(
    'name, channels, embed_dim, grid',
    [
        ('RN50', (256, 512, 1024, 2048), 1024, 7),
        ('RN50x4', (320, 640, 1280, 2560), 640, 9),
        ('RN50x16', (384, 768, 1536, 3072), 768, 12),
        ('RN50x64', (512, 1024, 2048, 4096), 1024, 14),
        ('convnext_base', (128, 256, 512, 1024), 512, None),
        ('ViT-L-14', (1024,) * 4, 768, None),
    ],
)
def test_open_clips_own_models_are_described_right(name, channels, embed_dim, grid):
    with torch.device('meta'):
        backbone = build(name)
    assert backbone.channels == channels
    assert backbone.embed_dim == embed_dim
    assert getattr(backbone.tower, 'grid', None) == grid  # of ResNet's attention pooling


BBOXES = torch.tensor([[0.0, 0, 96, 96], [10.5, 20, 50, 90.25], [60, 3, 70, 9]])


@torch.no_grad()
def test_resnet_regions_equal_roi_align_and_clips_own_pooling():
    backbone = build(RESNET)
    stage4 = backbone(torch.randn(1, 3, 96, 96))[-1]
    regions = roi_align(
        stage4, torch.cat((torch.zeros(3, 1), BBOXES), 1), (3, 3), 1 / 32, 0, 'avg', True
    )
    want = backbone.visual.attnpool(regions)
    got = backbone.embed_regions(stage4, BBOXES, torch.zeros(3, 1, 24, 24))
    assert torch.allclose(got, want, atol=1e-5)


@torch.no_grad()
def test_resnet_region_of_the_whole_picture_is_clips_embedding_of_it():
    backbone = build(RESNET)
    image = torch.randn(1, 3, 96, 96)
    stage4 = backbone(image)[-1]
    # RoIAlign puts one sample at the center of each of the 3x3 places.
    got = backbone.embed_regions(stage4, BBOXES[:1], torch.zeros(1, 1, 24, 24))
    assert torch.allclose(got, backbone.visual(image), atol=1e-5)


def masks():
    """Low-resolution logits of the whole picture, of its left half, and of nothing."""
    logits = torch.full((3, 1, 16, 16), -5.0)
    logits[0] = 5
    logits[1, :, :, :8] = 5
    return logits


@torch.no_grad()
def test_convnext_regions_are_clips_head_on_the_mean_over_the_mask():
    backbone = build(CONVNEXT)
    image = torch.randn(1, 3, 64, 64)
    stage4 = backbone(image)[-1]
    whole, half, nothing = backbone.embed_regions(stage4, torch.zeros(3, 4), masks())
    assert torch.allclose(whole, backbone.visual(image)[0], atol=1e-5)
    mean = stage4[..., :1].mean((2, 3), keepdim=True)
    want = backbone.visual.head(backbone.visual.trunk.forward_head(mean))
    assert torch.allclose(half, want[0], atol=1e-5)
    assert nothing.isfinite().all()


@torch.no_grad()
@pytest.mark.parametrize('size', [64, 96])
def test_vit_maps_are_its_last_tokens_at_four_scales(size):
    backbone = build(VIT)
    image = torch.randn(2, 3, size, size)
    maps = backbone(image)
    assert [m.shape[-1] for m in maps] == [size // s for s in (4, 8, 16, 32)]
    if size == 64:  # at CLIP's own size its position embedding is not resampled
        want = backbone.visual.forward_intermediates(image, indices=1, intermediates_only=True)
        assert torch.allclose(maps[2], want['image_intermediates'][0], atol=1e-5)
    want = F.interpolate(maps[2], scale_factor=0.5, mode='bilinear')
    assert torch.allclose(maps[3], want, atol=1e-5)


@torch.no_grad()
def test_vit_regions_are_the_projected_mean_of_tokens_in_the_mask():
    backbone = build(VIT)
    stage4 = backbone(torch.randn(1, 3, 64, 64))[-1]
    whole, half, nothing = backbone.embed_regions(stage4, torch.zeros(3, 4), masks())
    visual = backbone.visual
    for got, part in ((whole, stage4), (half, stage4[..., :1])):
        want = visual.ln_post(part.flatten(2).mean(-1)) @ visual.proj
        assert torch.allclose(got, want[0], atol=1e-5)
    assert nothing.isfinite().all()


@pytest.mark.parametrize('name', TOWERS)
def test_no_regions_give_no_embeddings(name):
    backbone = build(TOWERS[name])
    got = backbone.embed_regions(
        torch.randn(1, 4, 3, 3), torch.zeros(0, 4), torch.zeros(0, 1, 4, 4)
    )
    assert got.shape == (0, 24)


@pytest.mark.parametrize('name', TOWERS)
def test_frozen_tower_stays_in_eval_mode_with_its_statistics(name):
    backbone = build(TOWERS[name]).train()
    assert not any(module.training for module in backbone.modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    maps = backbone(torch.randn(2, 3, 64, 64))
    assert not any(m.requires_grad for m in maps)
    for key, value in backbone.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_tower_that_is_not_frozen_trains():
    backbone = build(RESNET, frozen=False).train()
    mean = backbone.visual.bn1.running_mean.clone()
    backbone(torch.randn(2, 3, 64, 64))[-1].sum().backward()
    assert backbone.visual.conv1.weight.grad is not None
    assert not torch.equal(backbone.visual.bn1.running_mean, mean)


def test_parameters_keep_open_clips_names():
    clip = open_clip.CLIP(**RESNET)
    ours = build(RESNET)
    ours.visual.load_state_dict(clip.visual.state_dict())
    names = {name for name in clip.state_dict() if name.startswith('visual.')}
    assert set(ours.state_dict()) == names


def test_unknown_name_is_refused_with_examples():
    with pytest.raises(ValueError, match="no model 'RN51'.*list_models"):
        build('RN51')


def test_incomplete_configuration_names_what_it_lacks():
    with pytest.raises(ValueError, match=r"lacks \['text_cfg', 'vision_cfg'\]"):
        build(dict(embed_dim=24))


def test_pretrained_needs_a_name():
    with pytest.raises(ValueError, match='`pretrained` needs `model` to be a name'):
        build(VIT, pretrained='openai')


@pytest.mark.parametrize(
    'vision_cfg',
    [
        dict(timm_model_name='test_vit', timm_pool='', timm_proj='linear', image_size=160),
        dict(VIT['vision_cfg'], attentional_pool=True, attn_pooler_heads=4),
    ],
)
def test_unsupported_tower_names_the_supported_families(vision_cfg):
    config = dict(embed_dim=24, vision_cfg=vision_cfg, text_cfg=TEXT)
    with pytest.raises(ValueError, match=r'Supported are ResNets.*ConvNeXt.*ViTs'):
        build(config)
