"""open_clip's towers as pyramids."""

import open_clip
import pytest
import torch
import torch.nn.functional as F
from mmcv.ops import roi_align
from mmdet.registry import MODELS

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


def vit(**vision):
    return dict(VIT, vision_cfg=dict(VIT['vision_cfg'], **vision))


def build(model, **settings):
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
    for finer in maps[:2] if name == 'vit' else ():  # its last tokens, resized
        want = F.interpolate(maps[2], finer.shape[-2:], mode='bilinear')
        assert torch.allclose(finer, want, atol=1e-5)


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


def masks():
    """Low-resolution logits of the whole picture, of its left half, and of nothing."""
    logits = torch.full((3, 1, 16, 16), -5.0)
    logits[0] = 5
    logits[1, :, :, :8] = 5
    return logits


@torch.no_grad()
@pytest.mark.parametrize('name', ['vit', 'convnext'])
def test_regions_of_masks_are_clips_head_on_the_mean_of_the_map_in_the_mask(name):
    backbone = build(TOWERS[name])
    image = torch.randn(1, 3, 64, 64)
    stage4 = backbone(image)[-1]
    whole, half, nothing = backbone.embed_regions(stage4, torch.zeros(3, 4), masks())
    visual = backbone.visual
    for got, part in ((whole, stage4), (half, stage4[..., :1])):
        mean = part.mean((2, 3), keepdim=True)
        if name == 'vit':
            want = visual.ln_post(mean.flatten(1)) @ visual.proj
        else:
            want = visual.head(visual.trunk.forward_head(mean))
        assert torch.allclose(got, want[0], atol=1e-5)
    assert nothing.isfinite().all()
    assert name == 'vit' or torch.allclose(whole, visual(image)[0], atol=1e-5)


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
def test_vit_that_averages_its_patches_embeds_the_whole_picture_as_clip_does():
    averaging = dict(pool_type='avg', final_ln_after_pool=True, no_ln_pre=True)
    backbone = build(vit(patch_size=32, **averaging))
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
    if name == 'vit':  # one that gives its tokens too
        talkative = build(vit(output_tokens=True))
        assert torch.equal(talkative.embed_images(images), backbone.embed_images(images))


@torch.no_grad()
@pytest.mark.parametrize('name', TOWERS)
def test_no_regions_give_no_embeddings_and_those_in_bfloat16_are_near(name):
    backbone = build(TOWERS[name])
    image = torch.randn(1, 3, *backbone.image_size)
    bboxes = torch.tensor([[0.0, 0, 64, 64], [0, 0, 40, 64], [10, 10, 30, 50]])

    def embed(count=3):
        embedded = backbone.embed_regions(backbone(image)[-1], bboxes[:count], masks()[:count])
        return embedded[:2].float()

    with torch.autocast('cpu', torch.bfloat16):
        rough = embed()
    assert F.cosine_similarity(rough, embed()).min() > 0.99
    assert embed(0).shape == (0, 24)


SUPPORTED = r'is of the kind %s\. Supported are ResNets.*ConvNeXt.*ViTs'


@pytest.mark.parametrize(
    ('model', 'message'),
    [
        ('RN51', "no model 'RN51'.*list_models"),
        (dict(embed_dim=24), r"lacks \['text_cfg', 'vision_cfg'\]"),
        ('ViT-B-16-SigLIP', SUPPORTED % 'VisionTransformer'),
        ('coca_ViT-B-32', SUPPORTED % 'VisionTransformer'),
        (vit(qk_norm=True), SUPPORTED % 'VisionTransformer'),
        (vit(pool_type='none'), SUPPORTED % 'VisionTransformer'),
    ],
)
def test_unsupported_towers_are_refused_with_the_remedy(model, message):
    with torch.device('meta'), pytest.raises(ValueError, match=message):
        build(model)
