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


def test_text_side_is_alone_in_memory_and_of_the_form_that_is_asked_for(clip, tmp_path):
    torch.save(clip.state_dict(), tmp_path / 'clip.pth')
    model, tokenizer = load_text_encoder(dict(CONFIG, custom_text=True), tmp_path / 'clip.pth')
    assert not any(name.startswith('visual') for name, _ in model.named_parameters())
    assert not any(parameter.requires_grad for parameter in model.parameters())
    tokens = tokenizer(['a red ring'])
    torch.testing.assert_close(model.encode_text(tokens), clip.encode_text(tokens))
    wider = dict(CONFIG, text_cfg=dict(CONFIG['text_cfg'], width=64))
    with pytest.raises(ValueError, match=r'(?s)clip\.pth does not fit.*size mismatch'):
        load_text_encoder(wider, tmp_path / 'clip.pth')


def test_configurations_are_open_clips_by_name_or_copies_of_whole_ones():
    assert clip_model_config('RN50x16')['embed_dim'] == 768
    copy = clip_model_config(CONFIG)
    assert copy == CONFIG
    copy['text_cfg']['width'] = 5
    assert CONFIG['text_cfg']['width'] == 32
    with pytest.raises(ValueError, match="no model 'RN51'.*list_models.*'RN50x16'"):
        clip_model_config('RN51')
    with pytest.raises(ValueError, match=r"lacks \['text_cfg'\]"):
        clip_model_config({key: value for key, value in CONFIG.items() if key != 'text_cfg'})
