"""What the command lines have in common."""

from argparse import Namespace

import pytest
import tiny
import tiny_training
from mmengine.runner import Runner

from mmovsam.engine.resume import last_checkpoint
from mmovsam.engine.runners import build_runner, fit_precision, load_config


@pytest.mark.parametrize(('separator', 'original_is_there'), [('/', False), ('\\', True)])
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
    (after / 'last_checkpoint').write_text('s3://bucket/epoch_3.pth')
    assert last_checkpoint(str(after)) == 's3://bucket/epoch_3.pth'
    assert last_checkpoint(str(tmp_path)) is None  # none yet


@pytest.mark.parametrize('workers', [0, 2])
def test_a_loader_without_workers_drops_the_settings_of_workers(tmp_path, monkeypatch, workers):
    monkeypatch.setenv('LOCAL_RANK', '0')
    of_workers = dict(persistent_workers=True, prefetch_factor=3, multiprocessing_context='fork')
    loader = dict(batch_size=1, num_workers=2, timeout=9, **of_workers)
    loader['sampler'] = dict(type='DefaultSampler', shuffle=False)
    (tmp_path / 'a.py').write_text(f'train_dataloader = {loader}\nval_dataloader = None\n')
    options = {'train_dataloader.num_workers': workers}
    given = dict(config=str(tmp_path / 'a.py'), work_dir='out', cfg_options=options)
    cfg = load_config(Namespace(**given, launcher='none', local_rank=0))
    built = Runner.build_dataloader(dict(cfg.train_dataloader, dataset=list('ab')), seed=0)
    assert built.num_workers == workers and built.persistent_workers == bool(workers)
    assert workers or len(list(built)) == 2


@pytest.mark.parametrize(
    ('train_cfg', 'plain', 'remedy'),
    [
        (dict(type='EpochBasedTrainLoop', max_epochs=1), 'EpochBasedTrainLoop', 'ResumableEpoch'),
        (dict(by_epoch=True, max_epochs=1), 'EpochBasedTrainLoop', 'ResumableEpochLoop'),
        (dict(by_epoch=False, max_iters=1), 'IterBasedTrainLoop', 'ResumableIterLoop'),
        (dict(type='ResumableIterLoop', max_iters=1), None, None),
    ],
)
def test_a_loop_that_loses_exact_resume_is_named_with_the_remedy(
    tmp_path, capfd, train_cfg, plain, remedy
):
    tiny_training.write_files(tmp_path)
    cfg = tiny_training.config(tmp_path, tiny.DISTILLER, 4, launcher='none')
    # MMEngine hands a logger on to the next runner of the same name, which may be a second's
    cfg.merge_from_dict(dict(log_level='WARNING', experiment_name=tmp_path.name))
    cfg.train_cfg = train_cfg
    build_runner(cfg, training=True)
    text = ' '.join(capfd.readouterr())
    assert text.count('train_cfg.type is') == (plain is not None)
    if plain:
        assert f'train_cfg.type is {plain}: ' in text and remedy in text


def test_bfloat16_becomes_what_the_machine_has(monkeypatch):
    asked = dict(type='AmpOptimWrapper', dtype='bfloat16', loss_scale=dict(enabled=False), lr=1)
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    assert fit_precision(asked) == dict(type='OptimWrapper', lr=1)
    monkeypatch.setattr('torch.cuda.is_available', lambda: True)
    for supported, found in (
        (True, asked),
        (False, dict(asked, dtype='float16', loss_scale='dynamic')),
    ):
        monkeypatch.setattr('torch.cuda.is_bf16_supported', lambda supported=supported: supported)
        assert fit_precision(asked) == found
    assert fit_precision(dict(asked, dtype='float32')) == dict(type='OptimWrapper', lr=1)
    other = dict(asked, dtype='float16')
    assert fit_precision(other) == other
