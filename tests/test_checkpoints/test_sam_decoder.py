"""SAM's whole decoder, four masks and their quality, as an option of the head's config."""

import pytest
import reference
import torch
from mmdet.registry import MODELS
from mmengine.registry import init_default_scope

from mmovsam.prompts import Prompts


@pytest.fixture(scope='module')
def sam_file(tmp_path_factory):
    path = tmp_path_factory.mktemp('sam') / 'sam_tiny.pth'
    torch.save(reference.weights('sam_tiny'), path)
    return str(path)


def build(sam_file, **mask_decoder):
    init_default_scope('mmdet')
    pretrained = dict(type='Pretrained', checkpoint=sam_file)
    model = MODELS.build(
        dict(
            type='OVSAM',
            backbone=dict(
                init_cfg=dict(prefix='image_encoder', **pretrained), **reference.SAM_TINY_ENCODER
            ),
            prompt_encoder=dict(
                type='SAMPromptEncoder',
                image_size=256,
                init_cfg=dict(prefix='prompt_encoder', **pretrained),
            ),
            head=dict(
                type='CLIP2SAMHead',
                embed_dim=None,
                mask_decoder=mask_decoder,
                init_cfg=dict(prefix='mask_decoder', **pretrained),
            ),
        )
    )
    model.init_weights()
    return model.eval()


@torch.no_grad()
def test_four_masks_and_their_iou_come_out_of_a_config(sam_file):
    model = build(sam_file, num_masks=4, with_iou=True)
    want = reference.values('sam_tiny')
    image = reference.generator('sam_image').standard_normal((1, 3, 256, 256))
    features = model.extract_feat(torch.from_numpy(image).float())
    prompts = Prompts(bboxes=want['boxes'])
    sparse, dense = model.prompt_encoder(prompts)
    pe = model.prompt_encoder.dense_pe()
    decoded = model.head.decode(features.embedding, pe, sparse, dense)
    logits, iou = decoded.low_res_logits[..., ::4, ::4], decoded.iou_predictions
    torch.testing.assert_close(logits[:, 1:], want['boxes_multi_logits'], atol=1e-4, rtol=0)
    torch.testing.assert_close(iou[:, 1:], want['boxes_multi_iou'], atol=1e-4, rtol=0)
    said = model.recognize(features, prompts)  # of the four the first, for a single answer
    assert torch.equal(said.low_res_logits, decoded.low_res_logits[:, :1])


def test_one_mask_is_the_default_and_takes_the_first(sam_file):
    one, four = build(sam_file), build(sam_file, num_masks=4, with_iou=True)
    tokens = four.head.mask_decoder.mask_tokens.weight
    assert torch.equal(one.head.mask_decoder.mask_tokens.weight, tokens[:1])
    assert one.head.mask_decoder.iou_prediction_head is None
