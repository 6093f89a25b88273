"""Names of the released OVSAM files."""

import pytest
import reference

from mmovsam.checkpoints.released import FORMATS, format_of, locate


@pytest.mark.parametrize(
    'ours, place',
    [
        ('backbone.visual.conv1.weight', ('clip', 'visual.conv1.weight')),
        ('backbone.pos_embed', ('sam', 'image_encoder.pos_embed')),
        ('teacher.neck.0.weight', ('sam', 'image_encoder.neck.0.weight')),
        ('neck.neck.0.weight', ('sam2clip', 'neck_student.neck.0.weight')),
        ('region_neck.fpn_convs.0.conv.bias', ('clip2sam', 'fpn_neck.fpn_convs.0.conv.bias')),
        ('head.roi_conv.weight', ('clip2sam', 'mask_decoder.roi_conv.0.conv.weight')),
        # of the naive combination of SAM and CLIP
        ('clip.visual.conv1.weight', ('clip', 'visual.conv1.weight')),
        ('sam.backbone.pos_embed', ('sam', 'image_encoder.pos_embed')),
        ('sam.head.mask_decoder.iou_token.weight', ('sam', 'mask_decoder.iou_token.weight')),
        ('prompter.detector.neck.conv.weight', None),
    ],
)
def test_each_parameter_has_its_place_in_a_format(ours, place):
    assert locate(ours, decoder_of='clip2sam') == locate(ours, decoder_of='sam') == place
    token = 'mask_decoder.mask_tokens.weight'  # which two formats hold
    assert locate(f'head.{token}', 'sam') == ('sam', token)
    assert locate(f'head.{token}', 'clip2sam') == ('clip2sam', f'mask_decoder.{token}')


@pytest.mark.parametrize('key', FORMATS)
def test_files_are_recognized_by_their_names(key):
    every = reference.shapes('ovsam_rn50x16') | reference.shapes('sam_vit_b') | {'visual.proj': []}
    beginnings = dict(
        clip='visual.',
        sam=('image_encoder.', 'prompt_encoder.', 'mask_decoder.transformer.'),
        sam2clip='neck_student.',
        clip2sam=('fpn_neck.', 'mask_decoder.mask_decoder.', 'mask_decoder.label'),
    )
    assert format_of(name for name in every if name.startswith(beginnings[key])) == key
    assert format_of(['bbox_head.conv.weight']) is None
