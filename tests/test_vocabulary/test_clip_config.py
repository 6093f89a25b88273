import pytest

from mmovsam.vocabulary import clip_model_config

CONFIG = dict(embed_dim=8, vision_cfg=dict(layers=[1, 1]), text_cfg=dict(width=4))


def test_name_of_open_clip_gives_its_configuration():
    assert clip_model_config('RN50x16')['embed_dim'] == 768


def test_configuration_comes_back_as_a_copy_at_every_depth():
    copy = clip_model_config(CONFIG)
    assert copy == CONFIG
    copy['vision_cfg']['layers'].append(1)
    copy['text_cfg']['width'] = 5
    assert CONFIG['vision_cfg'] == dict(layers=[1, 1]) and CONFIG['text_cfg'] == dict(width=4)


def test_unknown_name_is_answered_with_known_ones():
    with pytest.raises(ValueError, match="no model 'RN51'.*list_models.*'RN50x16'"):
        clip_model_config('RN51')


@pytest.mark.parametrize('part', ['embed_dim', 'vision_cfg', 'text_cfg'])
def test_configuration_that_lacks_a_part_is_refused(part):
    with pytest.raises(ValueError, match=rf"lacks \['{part}'\]"):
        clip_model_config({key: value for key, value in CONFIG.items() if key != part})
