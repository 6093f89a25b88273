"""Names of the released OVSAM files."""

import pytest
import reference

from mmovsam.checkpoints.released import from_released, to_released


@pytest.mark.parametrize('file', ['ovsam_rn50_small', 'ovsam_rn50x16'])
def test_renaming_there_and_back_changes_nothing(file):
    shapes = reference.shapes(file)
    ours = from_released(shapes)
    assert len(ours) == len(shapes)
    assert to_released(ours) == shapes


def test_text_tower_of_clip_is_left_out():
    assert from_released({'clip.token_embedding.weight': 1, 'clip.visual.bn1.bias': 2}) == {
        'backbone.visual.bn1.bias': 2
    }


def test_region_convolution_loses_the_wrapper_of_mmcv():
    assert from_released({'mask_decoder.roi_conv.0.conv.weight': 1}) == {'head.roi_conv.weight': 1}


def test_unknown_name_is_refused_by_name():
    with pytest.raises(ValueError, match=r"'image_encoder.pos_embed' is no parameter"):
        from_released({'image_encoder.pos_embed': 1})
