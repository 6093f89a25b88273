"""The table of stages that `make mini` works through."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

import mmovsam  # noqa: F401

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def train_mini():
    spec = importlib.util.spec_from_file_location('train_mini', ROOT / 'tools' / 'train_mini.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build(name):
    cfg = Config.fromfile(ROOT / 'configs' / 'mini' / name)
    init_default_scope('mmdet')
    return MODELS.build(cfg.model)


def test_a_stage_takes_weights_of_earlier_stages_only(train_mini):
    before = set()
    for stage, (_, initial, _) in train_mini.STAGES.items():
        assert {source for source, _ in initial.values()} <= before
        before.add(stage)


def test_initial_weights_go_to_keys_that_the_config_has(train_mini):
    for config, initial, _ in train_mini.STAGES.values():
        cfg = Config.fromfile(ROOT / 'configs' / 'mini' / config)
        for key in initial:
            node = cfg
            for part in key.split('.'):
                node = node[part]
            assert node.type == 'Pretrained'


def test_the_small_sam_is_written_with_the_names_of_sam_files(train_mini):
    written = train_mini.renamed(build('sam_mini.py').state_dict(), 'sam_mini')
    assert {name.split('.')[0] for name in written} == {
        'image_encoder',
        'prompt_encoder',
        'mask_decoder',
    }
    teacher = build('sam2clip_mini.py').teacher.state_dict()
    assert {f'image_encoder.{name}' for name in teacher} <= set(written)


def test_the_small_clip_is_written_with_the_names_of_open_clip(train_mini):
    written = train_mini.renamed(build('clip_mini.py').state_dict(), 'clip_mini')
    tower = build('ovsam_mini.py').backbone.state_dict()
    assert set(tower) <= set(written)
    assert 'token_embedding.weight' in written


def test_a_vocabulary_that_a_kill_prevented_is_built_later(train_mini, tmp_path, monkeypatch):
    built = []
    monkeypatch.setattr(train_mini, 'build_vocabulary', built.append)
    train_mini.weights(tmp_path, 'clip_mini').parent.mkdir()
    train_mini.weights(tmp_path, 'clip_mini').touch()
    args = SimpleNamespace(out=tmp_path, stages=['clip_mini'], threads=1, ship=False)
    train_mini.main(args)
    assert built == [tmp_path]
