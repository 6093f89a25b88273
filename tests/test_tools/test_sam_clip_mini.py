"""tools/test.py on the small baselines: no checkpoint, two files of weights, one scene."""

import json
from pathlib import Path

import pytest
import torch
from mini_world import CATEGORIES, write_split
from mmdet.registry import MODELS
from mmengine.config import Config

from mmovsam.checkpoints import save_safetensors
from mmovsam.vocabulary import TextClassifier, save_classifier

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs' / 'mini'
CONFIG = """
_base_ = {base!r}
sam = 'sam.safetensors'
model = dict(
    sam=dict(
        backbone=dict(init_cfg=dict(checkpoint=sam)),
        prompt_encoder=dict(init_cfg=dict(checkpoint=sam)),
        head=dict(init_cfg=dict(checkpoint=sam)),
    ),
    clip=dict(init_cfg=dict(checkpoint='clip.safetensors')),
    classifier=dict(classifier='names.safetensors'),
)
test_dataloader = dict(
    num_workers=0, persistent_workers=False, dataset=dict(data_root='scenes')
)
log_level = 'WARNING'
experiment_name = {name!r}
"""


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    """A folder with scenes, random weights in the shipped files' form, and a random vocabulary."""
    folder = tmp_path_factory.mktemp('baseline')
    write_split(folder / 'scenes', 'test', 1, 20261122)
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(CONFIGS / 'sam_clip_mini_image.py').model)
    sam, released = {}, dict(backbone='image_encoder.', prompt_encoder='prompt_encoder.', head='')
    for name, value in model.sam.state_dict().items():
        part, rest = name.split('.', 1)
        sam[released[part] + rest] = value.half()
    save_safetensors(sam, folder / 'sam.safetensors')
    clip = {f'backbone.{name}': value.half() for name, value in model.clip.state_dict().items()}
    save_safetensors(clip, folder / 'clip.safetensors')
    names, novel = zip(*((category.name, category.novel) for category in CATEGORIES))
    classifier = TextClassifier(torch.randn(len(names), 1, model.clip.embed_dim), names, novel)
    save_classifier(folder / 'names.safetensors', classifier)
    return folder


@pytest.fixture
def call(world, monkeypatch, run_tool):
    """Test a config without a checkpoint; returns the exit status and what is said."""
    monkeypatch.chdir(world)
    monkeypatch.delenv('MMOVSAM_TRACEBACK', raising=False)

    def run(name, *options):
        base = str(CONFIGS / f'{name}.py')
        (world / 'config.py').write_text(CONFIG.format(base=base, name=f'{name}_{len(options)}'))
        options = ['--cfg-options', *options] if options else []
        status, out, err = run_tool('test.py', 'config.py', '--work-dir', name, *options)
        return status, out + err

    return run


def test_small_baseline_is_tested_with_the_weights_of_its_parts(call):
    status, output = call('sam_clip_mini_image')
    assert status == 0, output
    [file] = Path('sam_clip_mini_image').glob('*/*.json')
    wanted = {f'open_vocab/{key}{part}' for key in ('IoU', 'acc') for part in ('', '_base')}
    assert wanted <= set(json.loads(file.read_text()))


@pytest.mark.parametrize(
    'option, messages',
    [
        ('sam.backbone.init_cfg.checkpoint=sam_vit_h_4b8939.pth', ['4b8939.pth', 'segment-anyth']),
        (
            'sam.backbone.init_cfg.prefix=prompt_encoder',
            ['in none of the files', 'backbone.pos_embed'],
        ),
        ('clip.init_cfg=None', ['names no weights (load_from): give a checkpoint file']),
    ],
)
def test_files_that_do_not_make_the_parts_are_named_with_their_remedy(call, option, messages):
    status, output = call('sam_clip_mini_image', f'model.{option}')
    assert status == 2 and all(message in output for message in messages)
