"""What the command lines have in common."""

from argparse import Namespace

import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from mmovsam.engine.command_line import build_runner, load_config
from mmovsam.engine.resume import last_checkpoint


@pytest.mark.parametrize('separator', ['/', '\\'])
@pytest.mark.parametrize('original_is_there', [False, True])
def test_a_training_that_was_moved_or_copied_goes_on_with_its_own(
    tmp_path, separator, original_is_there
):
    folders = before, after = tmp_path / 'before', tmp_path / 'after'
    for folder in folders[1 - original_is_there :]:
        folder.mkdir()
        (folder / 'epoch_2.pth').touch()
    noted = f'{before}/epoch_2.pth'.replace('/', separator)
    (after / 'last_checkpoint').write_text(f'{noted}\n')
    assert last_checkpoint(str(after)) == str(after / 'epoch_2.pth')


def test_checkpoints_may_lie_elsewhere_and_there_may_be_none_yet(tmp_path):
    assert last_checkpoint(str(tmp_path)) is None
    for noted in (str(tmp_path / 'elsewhere' / 'epoch_2.pth'), 's3://bucket/epoch_2.pth'):
        (tmp_path / 'last_checkpoint').write_text(noted)
        assert last_checkpoint(str(tmp_path)) == noted


@pytest.mark.parametrize('workers', [0, 2])
def test_a_loader_without_workers_drops_the_settings_of_workers(tmp_path, monkeypatch, workers):
    monkeypatch.setenv('LOCAL_RANK', '0')
    loader = dict(
        batch_size=1,
        num_workers=2,
        persistent_workers=True,
        prefetch_factor=3,
        timeout=9,
        multiprocessing_context='fork',
        sampler=dict(type='DefaultSampler', shuffle=False),
    )
    (tmp_path / 'a.py').write_text(f'train_dataloader = {loader}\nval_dataloader = None\n')
    options = {'train_dataloader.num_workers': workers}
    given = Namespace(config=str(tmp_path / 'a.py'), work_dir='out', cfg_options=options)
    cfg = load_config(Namespace(**vars(given), launcher='none', local_rank=0))
    built = Runner.build_dataloader(dict(cfg.train_dataloader, dataset=list('ab')), seed=0)
    assert built.num_workers == workers and built.persistent_workers == bool(workers)
    assert workers or len(list(built)) == 2


def test_every_run_checks_its_images_if_the_config_does_not_say_otherwise(monkeypatch):
    monkeypatch.setattr(Runner, 'from_cfg', lambda cfg: cfg)
    for hooks, expected in (({}, dict(type='ImageCheckHook')), (dict(image_check=None), None)):
        cfg = Config(dict(launcher='none', model={}, default_hooks=hooks))
        assert build_runner(cfg, training=False).default_hooks.image_check == expected
    assert build_runner(Config(dict(launcher='none', model={})), False).default_hooks.image_check
