"""timm's classifiers as towers."""

import pytest
import torch
from mmcv.ops import roi_align
from mmdet.registry import MODELS

LITE = 'tf_efficientnet_lite0'
# EfficientNets have a last convolution in front of the mean, MobileNets behind it, others none;
# ConvNeXts have a norm behind it
TOWERS = {
    LITE: (2, 4, 8, 16, 32),
    'resnet18': (2, 4, 8, 16, 32),
    'mobilenetv3_small_050': (2, 4, 8, 16, 32),
    'regnetx_002': (2, 4, 8, 16, 32),
    'convnext_atto': (4, 8, 16, 32),
}
SEED = 5


def build(model=LITE, **settings):
    torch.manual_seed(0)
    return MODELS.build(dict(type='TimmBackbone', model=model, embed_dim=12, **settings))


@pytest.fixture(scope='module')
def lite():
    return build()


@torch.no_grad()
@pytest.mark.parametrize('model', TOWERS)
def test_maps_are_as_told_and_the_mean_of_the_last_is_what_the_classifier_would_get(model):
    tower = build(model)
    tower.projection.bias.zero_()  # random towers let little through
    images = torch.randn(2, 3, 64, 96)
    maps = tower(images)
    assert tower.strides == TOWERS[model]
    assert [tuple(each.shape[1:]) for each in maps] == [
        (c, 64 // s, 96 // s) for c, s in zip(tower.channels, tower.strides)
    ]
    means = tower.embed_map(maps[-1]).mean((2, 3))
    want = tower.projection(tower.visual(images))
    assert torch.allclose(tower.project(means), want, rtol=1e-3, atol=1e-3 * want.std().item())


@torch.no_grad()
def test_regions_are_pooled_as_roi_align_does(lite):
    print('seed', SEED)
    generator = torch.Generator().manual_seed(SEED)
    features = torch.randn(3, 5, 6, 4, generator=generator)
    corners = torch.rand(20, 2, 2, generator=generator).sort(1).values
    bboxes = (corners * torch.tensor([4.0, 6.0]) * 32).flatten(1)
    image_index = torch.randint(3, (20,), generator=generator)
    rois = torch.cat((image_index[:, None].float(), bboxes), dim=1)
    want = roi_align(features, rois, 7, 1 / 32, 0, 'avg', True).mean((2, 3))
    assert torch.allclose(lite.pool_regions(features, image_index, bboxes), want, atol=1e-5)
    alone = lite.pool_regions(features[2:], torch.zeros(20).long(), bboxes)  # of one image
    assert torch.allclose(alone[image_index == 2], want[image_index == 2], atol=1e-5)


def test_tower_that_trains_keeps_the_statistics_of_its_norms():
    tower = build(frozen=False).train()
    assert tower.training and tower.visual.training
    before = {name: value.clone() for name, value in tower.named_buffers()}
    maps = tower(torch.randn(2, 3, 64, 64))
    tower.project(tower.embed_map(maps[-1]).mean((2, 3))).sum().backward()
    for name, value in tower.named_buffers():
        assert torch.equal(value, before[name]), name
    assert all(p.grad is not None for p in tower.parameters())
    assert not tower.eval().training


@torch.no_grad()
@pytest.mark.parametrize('model', [LITE, 'mobilenetv3_small_050', 'resnet18'])
def test_folded_norms_change_nothing(model):
    print('seed', SEED)
    tower, images = build(model), torch.randn(2, 3, 64, 96)
    torch.manual_seed(SEED)
    for norm in tower.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.running_mean.normal_(std=0.1)
            norm.running_var.uniform_(0.5, 2)
    maps = tower(images)
    embedded = tower.embed_map(maps[-1])
    tower.fold_batch_norms()
    for got, want in zip(tower(images), maps):
        assert torch.allclose(got, want, rtol=1e-3, atol=1e-4 * want.abs().max())
    assert torch.allclose(tower.embed_map(maps[-1]), embedded, rtol=1e-3, atol=1e-4)
    left = any(isinstance(each, torch.nn.BatchNorm2d) for each in tower.modules())
    assert left == (model == 'resnet18')  # which stays as it is
    tower.fold_batch_norms()  # does nothing more


@pytest.mark.parametrize(
    'model, message',
    [
        ('efficientnet_lite99', r"no model 'efficientnet_lite99'.*list_models"),
        ('vit_tiny_patch16_224', r'vit_tiny_patch16_224 has maps at the strides \(16, 16'),
    ],
)
def test_unknown_names_and_networks_without_a_pyramid_are_refused(model, message):
    with torch.device('meta'), pytest.raises(ValueError, match=message):
        build(model)
