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
def test_convnext_with_its_norm_before_the_head_embeds_regions_alike():
    # timm builds ConvNeXt with its last norm on either side of the pooling.
    backbone = build(CONVNEXT)
    trunk = backbone.visual.trunk
    image = torch.randn(1, 3, 64, 64)
    stage4 = backbone(image)[-1]
    trunk.norm_pre = torch.nn.GroupNorm(1, stage4.shape[1])
    torch.nn.init.normal_(trunk.norm_pre.weight)
    whole = backbone.embed_regions(stage4, torch.zeros(1, 4), masks()[:1])
    assert torch.allclose(whole, backbone.visual(image), atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize('size', [64, 96])
def test_vit_maps_are_its_last_tokens_resized(size):
    backbone = build(VIT)
    image = torch.randn(2, 3, size, size)
    maps = backbone(image)
    assert [m.shape[-1] for m in maps] == [size // s for s in (4, 8, 16, 32)]
    if size == 64:  # at CLIP's own size its position embedding is not resampled
        want = backbone.visual.forward_intermediates(image, indices=1, intermediates_only=True)
        assert torch.allclose(maps[2], want['image_intermediates'][0], atol=1e-5)
    for finer in maps[:2]:
        want = F.interpolate(maps[2], finer.shape[-2:], mode='bilinear')
        assert torch.allclose(finer, want, atol=1e-5)


@torch.no_grad()
def test_vit_names_by_patches_that_attend_to_themselves_alone():
    backbone = build(VIT)
    visual = backbone.visual
    for block in visual.transformer.resblocks:  # both start as zeros
        torch.nn.init.normal_(block.attn.in_proj_bias)
        torch.nn.init.normal_(block.attn.out_proj.bias)
    image = torch.randn(2, 3, 64, 64)
    stage4 = backbone(image)[-1]
    *blocks, last = visual.transformer.resblocks
    tokens = visual._embeds(image)
    for block in blocks:
        tokens = block(tokens)
    tokens = last.ln_1(tokens)
    others = ~torch.eye(tokens.shape[1], dtype=torch.bool)
    dense = last.attn(tokens, tokens, tokens, attn_mask=others)[0][:, 1:]
    want = dense.transpose(1, 2).unflatten(2, (4, 4))
    want = F.interpolate(want, (2, 2), mode='bilinear', antialias=True)
    assert torch.allclose(stage4, want, atol=1e-5)


@torch.no_grad()
def test_vit_regions_are_the_projected_mean_of_the_map_in_the_mask():
    backbone = build(VIT)
    stage4 = backbone(torch.randn(1, 3, 64, 64))[-1]
    whole, half, nothing = backbone.embed_regions(stage4, torch.zeros(3, 4), masks())
    visual = backbone.visual
    for got, part in ((whole, stage4), (half, stage4[..., :1])):
        want = visual.ln_post(part.flatten(2).mean(-1)) @ visual.proj
        assert torch.allclose(got, want[0], atol=1e-5)
    assert nothing.isfinite().all()


@torch.no_grad()
def test_vit_that_averages_its_patches_embeds_the_whole_picture_as_clip_does():
    averaging = dict(pool_type='avg', final_ln_after_pool=True, no_ln_pre=True)
    backbone = build(dict(VIT, vision_cfg=dict(VIT['vision_cfg'], patch_size=32, **averaging)))
    image = torch.randn(1, 3, 64, 64)
    stage4 = backbone(image)[-1]  # patches of stride 32: its map is not resized
    got = backbone.embed_regions(stage4, torch.zeros(1, 4), masks()[:1])
    assert torch.allclose(got, backbone.visual(image), atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize('name', TOWERS)
def test_images_are_embedded_as_open_clip_does(name):
    backbone = build(TOWERS[name])
    clip = open_clip.CLIP(**TOWERS[name]).eval()
    clip.visual.load_state_dict(backbone.visual.state_dict())
    images = torch.randn(2, 3, *backbone.image_size)
    want = clip.encode_image(images)
    assert want.shape == (2, backbone.embed_dim)
    assert torch.allclose(backbone.embed_images(images), want, atol=1e-6)


@torch.no_grad()
def test_tower_that_gives_its_tokens_too_embeds_images_all_the_same():
    plain = build(VIT)
    talkative = build(dict(VIT, vision_cfg=dict(VIT['vision_cfg'], output_tokens=True)))
    images = torch.randn(2, 3, *plain.image_size)
    assert torch.equal(talkative.embed_images(images), plain.embed_images(images))


@torch.no_grad()
@pytest.mark.parametrize('name', TOWERS)
def test_maps_and_regions_in_bfloat16_are_near_those_in_float32(name):
    backbone = build(TOWERS[name])
    image = torch.randn(1, 3, *backbone.image_size)
    bboxes = torch.tensor([[0.0, 0, 64, 64], [0, 0, 40, 64], [10, 10, 30, 50]])

    def embed():
        return backbone.embed_regions(backbone(image)[-1], bboxes, masks())[:2].float()

    with torch.autocast('cpu', torch.bfloat16):
        rough = embed()
    assert F.cosine_similarity(rough, embed()).min() > 0.99


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
    'model, kind',
    [
        ('ViT-B-16-SigLIP', 'VisionTransformer'),
        ('EVA02-B-16', 'Eva'),
        ('coca_ViT-B-32', 'VisionTransformer'),
        ('MobileCLIP-S1', 'FastVit'),
        ('swin_base_patch4_window7_224', 'SwinTransformer'),
        (dict(VIT, vision_cfg=dict(VIT['vision_cfg'], qk_norm=True)), 'VisionTransformer'),
        (dict(VIT, vision_cfg=dict(VIT['vision_cfg'], pool_type='none')), 'VisionTransformer'),
    ],
)
def test_unsupported_tower_names_the_supported_families(model, kind):
    match = rf'is of the kind {kind}\. Supported are ResNets.*ConvNeXt.*ViTs'
    with torch.device('meta'), pytest.raises(ValueError, match=match):
        build(model)
