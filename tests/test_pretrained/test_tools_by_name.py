"""Tools that are given the name of a model, or addresses, through the command `mmovsam`."""

import argparse
import logging
import re

import pytest
import torch

import mmovsam_command
from mmovsam.apis import OVSAMPredictor
from mmovsam.checkpoints import load_checkpoint_file
from mmovsam.engine.runners import load_config
from mmovsam.vocabulary import load_classifier

NAMES = ('cat', 'dog', 'red car')


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """`call('label', ...)`: exit status and what was printed, in a folder of its own."""
    (tmp_path / 'work').mkdir()
    monkeypatch.chdir(tmp_path / 'work')
    # the logger of an earlier test still holds that test's captured output, closed by now
    monkeypatch.setattr(logging, 'raiseExceptions', False)

    def call(*arguments):
        status = 0
        try:
            mmovsam_command.main([str(argument) for argument in arguments])
        except SystemExit as stop:
            status = stop.code
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    return call


def test_download_gets_all_that_the_model_needs(model, server, call):
    status, printed = call('download', model.name)
    assert status == 0, printed
    assert printed.count('SHA-256 ') == 4 and '3 names are in the cache' in printed
    before = len(server.log.requests)
    predictor = OVSAMPredictor.from_pretrained(model.name)
    assert predictor.vocabulary == NAMES
    assert len(server.log.requests) == before


def test_convert_takes_addresses_and_says_the_licences(model, server, call, tmp_path, weights):
    released = '/own/models/sam2clip_vith_rn50x16.pth'
    server.files[released] = server.files['/own/models/sam2clip.pth']
    status, printed = call(
        *('convert', '--config', tmp_path / 'ovsam_tiny.py', '--out', 'out.safetensors'),
        *('--clip', 'tiny-clip:openai', '--clip2sam', 'hf://own/models/clip2sam.pth'),
        *('--sam2clip', 'hf://own/models/sam2clip_vith_rn50x16.pth'),
        *('--sam', f'{server.url}/files/sam_vit_t.pth'),
    )
    assert status == 0, printed
    assert 'licence: NTU S-Lab License 1.0, for non-commercial use only' in printed
    found = load_checkpoint_file('out.safetensors')['state_dict']
    assert all(torch.equal(found[name], value) for name, value in weights.items())
    assert server.log.sent('sam_vit_t.pth') < len(server.files['/files/sam_vit_t.pth']) / 50


def test_vocabulary_is_read_by_the_text_tower_of_a_named_model(model, server, call, tmp_path):
    status, printed = call(
        'vocabulary', tmp_path / 'names.txt', '--model', model.name, '--out', 'a.safetensors'
    )
    assert status == 0, printed
    assert 'Device: cpu' in printed
    assert load_classifier('a.safetensors').names == NAMES
    assert not server.log.sent('clip2sam')  # the text tower alone


def arguments(**given):
    nothing = dict(work_dir=None, cfg_options=None, launcher='none', local_rank=0)
    return argparse.Namespace(**{**nothing, **given})


def test_config_of_a_runner_by_name_has_the_weights_and_a_folder_of_its_name(model, server):
    load_config(arguments(config=model.name, checkpoint='mine.pth'))
    assert not server.log.requests
    cfg = load_config(arguments(config=model.name))
    assert cfg.load_from.endswith(f'{model.name}.safetensors')
    assert cfg.work_dir == f'work_dirs/{model.name}'


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('label', 'a', 'b.json', '--config', 'ovsam-foto'), "named 'ovsam-foto'.*'ovsam-photo'"),
        (('label', 'a', 'b.json', '--device', 'cuda:7'), 'There is no cuda:7'),
        (('download', 'ovsam-lvis-tiny'), 'hf://own/models/sam2clip.pth is not there'),
    ],
)
def test_what_fails_is_one_line(model, server, call, arguments, message):
    server.status['/own/models/sam2clip.pth'] = 404
    status, printed = call(*arguments)
    [line] = [line for line in printed.splitlines() if line.startswith('error:')]
    assert status == 2 and re.search(message, line)
