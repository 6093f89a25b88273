import pytest
import torch
from text_tower import CLIP as CONFIG
from text_tower import build_clip

from mmovsam.checkpoints.loading import save_safetensors
from mmovsam.vocabulary import Vocabulary, load_text_encoder


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


def test_config_is_not_changed():
    before = repr(CONFIG)
    load_text_encoder(CONFIG)
    assert repr(CONFIG) == before


def test_custom_text_model_takes_a_checkpoint_with_plain_names(clip, tmp_path):
    torch.save(clip.state_dict(), tmp_path / 'clip.pth')
    model, tokenizer = load_text_encoder(dict(CONFIG, custom_text=True), tmp_path / 'clip.pth')
    tokens = tokenizer(['a red ring'])
    torch.testing.assert_close(model.encode_text(tokens), clip.encode_text(tokens))


def test_own_tokenizer_is_handed_back():
    def tokenizer(texts):
        return texts

    assert load_text_encoder(CONFIG, tokenizer=tokenizer)[1] is tokenizer


def test_checkpoint_of_another_width_is_refused(clip, tmp_path):
    torch.save(clip.state_dict(), tmp_path / 'clip.pth')
    wider = dict(CONFIG, text_cfg=dict(CONFIG['text_cfg'], width=64))
    with pytest.raises(ValueError, match=r'(?s)clip\.pth does not fit.*size mismatch'):
        load_text_encoder(wider, tmp_path / 'clip.pth')


def test_unknown_model_is_refused():
    with pytest.raises(ValueError, match="open_clip has no model 'RN51'"):
        load_text_encoder('RN51')


def test_config_without_text_is_refused():
    with pytest.raises(ValueError, match="lacks \\['text_cfg'\\]"):
        load_text_encoder(dict(embed_dim=8, vision_cfg={}))


def test_missing_checkpoint_is_named():
    with pytest.raises(FileNotFoundError, match=r'absent\.pth'):
        load_text_encoder(CONFIG, 'absent.pth')
