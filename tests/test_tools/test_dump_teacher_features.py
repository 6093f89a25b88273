"""tools/dump_teacher_features.py as a command."""

from functools import partial

import pytest
import tiny_dump

from mmovsam.teacher_features import FeatureStore


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with a config of six images."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv('MMOVSAM_TRACEBACK', raising=False)
    monkeypatch.delenv('TORCHELASTIC_RUN_ID', raising=False)
    cfg = tiny_dump.config(tmp_path)
    cfg.default_scope = 'mmdet'
    cfg.dump('tiny.py')
    return tmp_path


@pytest.fixture
def call(folder, run_tool):
    """Run the tool; returns its exit status, output and errors."""
    return partial(run_tool, 'dump_teacher_features.py')


def test_it_ends_by_saying_where_the_features_are(call, folder):
    status, out, err = call('tiny.py', '--out', 'features', '--dtype', 'int8')
    assert status == 0, err
    assert out.startswith('6 images, 0 of them done') or '\n6 images, 0 of them done' in out
    assert 'Rounding to int8 adds' in out and '6/6' in err and 'image/s' in err
    assert out.splitlines()[-1].startswith('Done. 6 features')
    assert out.splitlines()[-1].endswith(str(folder / 'features'))


def test_check_says_how_fast_reading_is_or_what_is_damaged_and_recompute_mends_it(call, folder):
    call('tiny.py', '--out', 'features')
    status, out, _ = call('--out', 'features', '--check')
    assert status == 0
    assert 'Done. 6 features' in out and 'MiB/s' in out.splitlines()[-1]
    tiny_dump.flip_bit(FeatureStore(folder / 'features'), 4)
    status, _, err = call('--out', 'features', '--check')
    assert status == 2 and '1 damaged' in err and 'image 4 ' in err
    status, out, _ = call('tiny.py', '--out', 'features', '--damaged', 'skip')
    assert status == 0 and 'image 4 ' in out and 'but for the 1 damaged' in out.splitlines()[-1]
    status, out, _ = call('tiny.py', '--out', 'features', '--damaged', 'recompute')
    assert status == 0 and 'image 4 ' in out and '6 images, 5 of them done' in out


def test_mistakes_are_told_and_options_reach_the_config(call):
    option = 'train_dataloader.dataset.data_root=nowhere'
    for arguments, message in [
        (['tiny.py', '--cfg-options', option], 'nowhere'),
        ([], 'give a config, or --check'),
        (['--check'], 'There are no teacher features in features'),
    ]:
        status, _, err = call(*arguments, '--out', 'features')
        assert status == 2 and message in err
