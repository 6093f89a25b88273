"""The text side of a CLIP model, and the config of one."""

import pytest
import torch
from text_tower import CLIP as CONFIG
from text_tower import build_clip

from mmovsam.checkpoints.loading import save_safetensors
from mmovsam.vocabulary import Vocabulary, clip_model_config, load_text_encoder


@pytest.fixture(scope='module')
def clip():
    return build_clip()


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
@pytest.mark.parametrize('with_visual', [True, False])
def test_text_side_of_a_checkpoint_encodes_as_the_whole_model(clip, tmp_path, suffix, with_visual):
    state = {k: v for k, v in clip.state_dict().items() if with_visual or 'visual.' not in k}
    path = tmp_path / f'clip{suffix}'
    if suffix == '.pth':
        torch.save(dict(state_dict=state), path)
    else:
        save_safetensors(state, path)
    model, tokenizer = load_text_encoder(CONFIG, path)
    tokens = tokenizer(['a red ring', 'a blue star'])
    assert tokens.shape == (2, 20)
    torch.testing.assert_close(model.encode_text(tokens), clip.encode_text(tokens))
    classifier = Vocabulary(['red ring']).build_classifier(model, tokenizer, cache=False)
    assert classifier.embeddings.shape == (1, 24)


def test_image_tower_is_not_in_memory_and_nothing_trains():
    model, _ = load_text_encoder(CONFIG)
    assert not any(name.startswith('visual') for name, _ in model.named_parameters())
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not model.training


def test_custom_text_model_takes_a_checkpoint_with_plain_names(clip, tmp_path):
    torch.save(clip.state_dict(), tmp_path / 'clip.pth')
    model, tokenizer = load_text_encoder(dict(CONFIG, custom_text=True), tmp_path / 'clip.pth')
    tokens = tokenizer(['a red ring'])
    torch.testing.assert_close(model.encode_text(tokens), clip.encode_text(tokens))


def test_checkpoint_of_another_width_is_refused(clip, tmp_path):
    torch.save(clip.state_dict(), tmp_path / 'clip.pth')
    wider = dict(CONFIG, text_cfg=dict(CONFIG['text_cfg'], width=64))
    with pytest.raises(ValueError, match=r'(?s)clip\.pth does not fit.*size mismatch'):
        load_text_encoder(wider, tmp_path / 'clip.pth')


SMALL = dict(embed_dim=8, vision_cfg=dict(layers=[1, 1]), text_cfg=dict(width=4))


def test_name_of_open_clip_gives_its_configuration():
    assert clip_model_config('RN50x16')['embed_dim'] == 768


def test_configuration_comes_back_as_a_copy_at_every_depth():
    copy = clip_model_config(SMALL)
    assert copy == SMALL
    copy['vision_cfg']['layers'].append(1)
    copy['text_cfg']['width'] = 5
    assert SMALL['vision_cfg'] == dict(layers=[1, 1]) and SMALL['text_cfg'] == dict(width=4)


def test_unknown_name_is_answered_with_known_ones():
    with pytest.raises(ValueError, match="no model 'RN51'.*list_models.*'RN50x16'"):
        clip_model_config('RN51')


@pytest.mark.parametrize('part', ['embed_dim', 'vision_cfg', 'text_cfg'])
def test_configuration_that_lacks_a_part_is_refused(part):
    with pytest.raises(ValueError, match=rf"lacks \['{part}'\]"):
        clip_model_config({key: value for key, value in SMALL.items() if key != part})
