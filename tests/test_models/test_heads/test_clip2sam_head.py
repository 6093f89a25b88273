"""The CLIP2SAM head."""

import torch
from mmdet.registry import MODELS

from mmovsam.layers import MaskDecoder
from mmovsam.models.heads import clip2sam_head

DECODER = dict(channels=16, num_heads=4, mlp_channels=32)


def build(**settings):
    torch.manual_seed(0)
    small = dict(embed_dim=12, region_channels=8, mask_decoder=DECODER, num_points=200)
    return MODELS.build(dict(type='CLIP2SAMHead', **{**small, **settings})).eval()


def maps():
    return tuple(torch.randn(1, 8, 256 // s, 256 // s) for s in (4, 8, 16, 32))


@torch.no_grad()
def test_label_token_counts_only_where_asked_for():
    bboxes, tokens, levels = torch.tensor([[10.0, 20, 60, 90]]), torch.randn(1, 1, 16), maps()
    plain, using = build(), build(use_label_token=True)
    using.load_state_dict(plain.state_dict())
    assert not any(p.requires_grad for p in plain.label_mlp.parameters())
    assert all(p.requires_grad for p in using.label_mlp.parameters())
    without = plain.embed_regions(levels, bboxes, tokens)
    assert torch.equal(without, plain.embed_regions(levels, bboxes))
    added = using.embed_regions(levels, bboxes, tokens) - without
    assert torch.allclose(added, using.label_mlp(tokens[:, 0]), atol=1e-5)


def test_regions_are_read_from_the_maps_that_mmdetection_reads_them_from():
    head, side = build(), torch.linspace(0, 1000, 5001)
    side = torch.cat((side, 56 * torch.tensor([2, 4, 8, 2 - 1e-5, 4 - 1e-5, 8 - 1e-5])))
    bboxes = torch.stack((side * 0 + 7, side * 0, side + 7, side), dim=1)
    levels = tuple(torch.full((1, 8, 1024 // s, 1024 // s), float(s)) for s in (4, 8, 16, 32))
    seen = head._extract(levels, bboxes.clamp(max=1024), None)[side > 12].amax((1, 2, 3))
    rois = torch.nn.functional.pad(bboxes, (1, 0))
    wanted = 4 * 2 ** head.roi_extractor.map_roi_levels(rois, 4)[side > 12]
    assert torch.equal(seen.round(), wanted.float())


def test_init_cfg_reads_sams_file_into_the_mask_decoder(tmp_path):
    sam = MaskDecoder(num_masks=4, with_iou=True, **DECODER)
    torch.nn.init.normal_(sam.mask_tokens.weight)
    file = tmp_path / 'sam.pth'
    torch.save({f'mask_decoder.{name}': value for name, value in sam.state_dict().items()}, file)
    head = build(init_cfg=dict(type='Pretrained', checkpoint=str(file), prefix='mask_decoder'))
    label_token = head.label_token.weight.clone()
    head.init_weights()
    theirs = sam.state_dict()
    for name, value in head.mask_decoder.state_dict().items():
        want = theirs[name][:1] if name == 'mask_tokens.weight' else theirs[name]
        assert torch.equal(value, want), name
    assert torch.equal(head.label_token.weight, label_token)


# Losses


def test_mask_losses_are_those_of_the_formulas(monkeypatch):
    # Constant logits and masks: points off the border, where zeros mix in, all see the same.
    points = torch.rand(3, 200, 2) * 0.8 + 0.1
    monkeypatch.setattr(
        clip2sam_head, 'get_uncertain_point_coords_with_randomness', lambda *_: points
    )
    head = build()
    logits = torch.full((3, 1, 16, 16), 0.7)
    losses = head.mask_losses(logits, torch.ones(3, 64, 64))
    p = torch.tensor(0.7).sigmoid()
    assert torch.allclose(losses['loss_mask'], -5 * p.log(), atol=1e-5)
    dice = 1 - (2 * 200 * p + 1) / (200 * p + 200 + 1)
    assert torch.allclose(losses['loss_dice'], 5 * dice, atol=1e-4)
