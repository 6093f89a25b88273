"""Models by name: their files fetched, converted and kept."""

import shutil

import numpy as np
import pytest
import torch

from mmovsam.apis import OVSAMInferencer, OVSAMPredictor
from mmovsam.checkpoints import load_checkpoint_file
from mmovsam.downloads import DownloadError
from mmovsam.pretrained import MODELS, checkpoint_file, fetch_model, find_pretrained, read_config

NAMES = ('cat', 'dog', 'red car')
IMAGE = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)


def test_two_lines_give_a_mask_and_a_name_and_the_second_time_no_server_is_asked(
    model, server, weights, tmp_path
):
    predictor = OVSAMPredictor.from_pretrained(model.name)
    predictor.set_image(IMAGE)
    result = predictor.predict(box=[10, 10, 50, 40], multimask_output=False)
    assert result.masks.shape == (1, 60, 80)
    assert sorted(result.names[0]) == sorted(NAMES)
    predictor.set_vocabulary(['espresso', 'a saucer'])
    assert predictor.vocabulary == ('espresso', 'a saucer')
    size = len(server.files['/files/sam_vit_t.pth'])
    assert server.log.sent('sam_vit_t.pth') < size / 50 < 2**20
    server.close()
    found = load_checkpoint_file(fetch_model(model.name))['state_dict']
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], value) for name, value in weights.items())
    predictor = OVSAMPredictor.from_config(tmp_path / 'ovsam_tiny.py', model.name)
    assert predictor.vocabulary == NAMES
    assert checkpoint_file(model.name) == str(fetch_model(model.name))
    inferencer = OVSAMInferencer(model.name, device='cpu', show_progress=False)
    result = inferencer(IMAGE, prompts=dict(box=[10, 10, 50, 40]), no_save_vis=True)
    assert result['predictions'][0]['names'][0] in NAMES


def test_other_weights_are_files_and_addresses_and_fetch_nothing_else(
    model, server, tmp_path, weights
):
    torch.save(weights, tmp_path / 'whole.pth')
    content = (tmp_path / 'whole.pth').read_bytes()
    server.files['/own/models/whole.pth'] = server.files['/files/whole.pth'] = content
    for checkpoint in (
        tmp_path / 'whole.pth',
        'hf://own/models/whole.pth',
        f'{server.url}/files/whole.pth',
    ):
        OVSAMPredictor.from_config(model.name, checkpoint)
    read_config(model.name, weights=False)
    assert not server.log.sent('sam2clip') and not server.log.sent('sam_vit_t')


def test_other_and_moved_files_are_refused_and_nothing_is_kept(model, server, tmp_path):
    torch.save({'neck_student.strange': torch.ones(2)}, tmp_path / 'strange')
    server.files['/own/models/sam2clip.pth'] = (tmp_path / 'strange').read_bytes()
    with pytest.raises(ValueError, match='Nothing was written'):
        fetch_model(model.name)
    del server.files['/own/models/clip2sam.pth']
    shutil.rmtree(tmp_path / 'cache')
    shutil.rmtree(tmp_path / 'hub')
    with pytest.raises(DownloadError, match='hf://own/models/clip2sam.pth is not there'):
        OVSAMPredictor.from_pretrained(model.name)
    assert not list((tmp_path / 'cache').rglob(f'{model.name}.safetensors'))


def test_inferencer_puts_a_detector_before_the_model(model, monkeypatch):
    built = {}

    def stop(self, cfg, *args, **kwargs):
        built.update(cfg.model.prompter)
        raise KeyboardInterrupt

    monkeypatch.setattr('mmdet.apis.DetInferencer.__init__', stop)
    with pytest.raises(KeyboardInterrupt):
        OVSAMInferencer(model.name, detector='rtmdet_l_8xb32-300e_coco')
    detector = 'rtmdet_l_8xb32-300e_coco'
    assert built == dict(type='DetectorPrompter', detector=detector, score_thr=0.3)
    with pytest.raises(ValueError, match='not both'):
        OVSAMInferencer(model.name, detector='a', prompter=dict(type='GridPrompter'))


@pytest.mark.parametrize('wrong', ['ovsam-lvis', 'ovsam_lvis_rn50x16', 'OVSAM-LVIS-RN50x16'])
def test_wrong_name_is_answered_with_the_names(wrong):
    for ask in (find_pretrained, read_config, OVSAMPredictor.from_pretrained, OVSAMInferencer):
        with pytest.raises(ValueError, match='ovsam-photo.*Did you mean .ovsam-lvis-rn50x16'):
            ask(wrong)
    with pytest.raises(FileNotFoundError, match='There is no config nothing'):
        read_config('nothing')


def test_every_model_has_its_config_and_the_files_that_it_lacks_or_needs_no_network(monkeypatch):
    monkeypatch.setenv('MMOVSAM_CACHE', 'off')
    for model in MODELS.values():
        config = read_config(model.name, weights=False)
        assert config.model.type == 'OVSAM'
        assert bool(model.sources) != bool(config.load_from)
        assert config.model.classifier.classifier
        assert config.text_encoder.checkpoint
    for name in ('ovsam-photo', 'ovsam-mini'):
        assert str(fetch_model(name)).startswith('mmovsam://')
        assert read_config(name).load_from == fetch_model(name)


@pytest.mark.parametrize(
    ('name', 'content'),
    [('a.py', b'\xef\xbb\xbfmodel = dict()'), ('b.py', b'model = dict('), ('c.pth', b'weights')],
)
def test_a_config_that_is_none_is_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f'Config .*{name} is not valid: '):
        read_config(tmp_path / name)
    (tmp_path / 'd.py').write_bytes(b'model = dict(\r\n\ttest_cfg=dict(a=1))\r\n')  # of Windows
    assert read_config(tmp_path / 'd.py').model.test_cfg.a == 1
