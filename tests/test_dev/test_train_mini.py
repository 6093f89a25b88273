"""The table of stages that `make mini` works through."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config

import mmovsam  # noqa: F401

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def train_mini():
    spec = importlib.util.spec_from_file_location('train_mini', ROOT / 'dev' / 'train_mini.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build(name):
    return MODELS.build(Config.fromfile(ROOT / 'configs' / 'mini' / name).model)


def test_a_stage_takes_weights_of_earlier_rounds_only(train_mini):
    before = set()
    for stages in train_mini.ROUNDS:
        for stage in stages:
            assert {source for source, _ in train_mini.STAGES[stage][1].values()} <= before
        before.update(stages)
    assert before == set(train_mini.STAGES)


def test_the_small_sam_is_written_with_the_names_of_sam_files(train_mini):
    written = train_mini.renamed(build('sam_mini.py').state_dict(), 'sam_mini')
    parts = {name.split('.')[0] for name in written}
    assert parts == {'image_encoder', 'prompt_encoder', 'mask_decoder'}
    teacher = build('sam2clip_mini.py').teacher.state_dict()
    assert {f'image_encoder.{name}' for name in teacher} <= set(written)


def test_a_training_that_ended_is_not_begun_again(train_mini, tmp_path):
    folder = tmp_path / 'sam_mini'
    folder.mkdir()
    (folder / 'last_checkpoint').write_text(str(folder / 'epoch.pth'))
    epochs = Config.fromfile(ROOT / 'configs' / 'mini' / 'sam_mini.py').train_cfg.max_epochs
    state = {'backbone.pos_embed': torch.ones(3), 'head.label_token.weight': torch.ones(2)}
    for epoch in (epochs - 1, epochs):
        meta = dict(epoch=epoch, iter=epochs)
        torch.save(dict(meta=meta, state_dict=state), folder / 'epoch.pth')
        ended = train_mini.last_checkpoint('sam_mini', tmp_path)
        assert (ended is None) == (epoch < epochs)
    train_mini.train('sam_mini', tmp_path, threads=1)
    written = train_mini.load_checkpoint_file(train_mini.weights(tmp_path, 'sam_mini'))
    assert set(written['state_dict']) == {'image_encoder.pos_embed'}
    assert written['state_dict']['image_encoder.pos_embed'].dtype == torch.float16


def test_one_stage_that_fails_lets_the_other_end(train_mini, tmp_path, monkeypatch, capfd):
    codes = dict(
        sam_mini='import sys; print("no data"); sys.exit(3)', clip_mini='print("50 of 50")'
    )
    monkeypatch.setattr(
        train_mini, 'command', lambda stage, _: [sys.executable, '-c', codes[stage]]
    )
    done = dict(
        sam_mini=[None], clip_mini=[dict(state_dict={'clip.visual.proj': torch.ones(2)}), None]
    )
    monkeypatch.setattr(train_mini, 'last_checkpoint', lambda stage, _: done[stage].pop())
    with pytest.raises(RuntimeError, match='sam_mini ended with code 3'):
        train_mini.train_round(['clip_mini', 'sam_mini'], tmp_path, 2)
    said = capfd.readouterr().out
    assert 'sam_mini: no data' in said and 'clip_mini: 50 of 50' in said
    assert train_mini.weights(tmp_path, 'clip_mini').is_file()
    assert not train_mini.weights(tmp_path, 'sam_mini').is_file()
