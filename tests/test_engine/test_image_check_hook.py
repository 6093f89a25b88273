"""Missing images are told before a run begins, all of them at once."""

from types import SimpleNamespace

import pytest
from mmdet.datasets import ConcatDataset
from mmengine.logging import MMLogger
from mmengine.registry import DATASETS
from tiny_data import annotation, dataset_config, write_data

import mmovsam.datasets.image_paths as module
from mmovsam.datasets.image_paths import image_paths, leaf_datasets
from mmovsam.engine.hooks import ImageCheckHook


def build(folder, missing, **kwargs):
    folder.mkdir()
    write_data(folder, [(20, 30)] * 8, [annotation(i, [2, 3, 9, 9], i) for i in range(1, 9)])
    for number in missing:
        (folder / f'{number}.png').unlink()
    return DATASETS.build(dict(dataset_config(folder, **kwargs), _scope_='mmdet'))


def runner(train, val=None):
    def loop(data):
        return data and SimpleNamespace(dataloader=SimpleNamespace(dataset=data))

    return SimpleNamespace(
        train_loop=loop(train), val_loop=loop(val), test_dataloader=loop(train).dataloader
    )


@pytest.mark.parametrize('moment', ['before_train', 'before_test'])
@pytest.mark.parametrize('lazy_init', [False, True])
def test_missing_images_are_counted_and_named_with_the_remedy(tmp_path, moment, lazy_init):
    dataset = build(tmp_path / 'a', range(1, 8), lazy_init=lazy_init)
    with pytest.raises(FileNotFoundError) as error:
        getattr(ImageCheckHook(), moment)(runner(dataset))
    text = str(error.value)
    assert text.startswith('7 of 8 images are missing: ') and text.count('.png') == 5
    assert f'{tmp_path}/a/1.png, ' in text and '5.png ...' in text and 'data_prefix' in text


def test_those_of_training_and_validation_and_of_wrappers_are_one_message(tmp_path):
    parts = [build(tmp_path / name, [3]) for name in 'ab']
    val = build(tmp_path / 'c', [4, 5])
    with pytest.raises(FileNotFoundError, match='4 of 24 images'):
        ImageCheckHook().before_train(runner(ConcatDataset(parts), val))


def test_nothing_is_said_of_whole_data_and_of_what_a_mixture_leaves_out(tmp_path, monkeypatch):
    whole, other = build(tmp_path / 'a', []), build(tmp_path / 'b', [1])
    ImageCheckHook().before_train(runner(whole))
    mixed = SimpleNamespace(datasets=[whole, other], ratios=(1.0, 0.0))
    ImageCheckHook().before_train(runner(mixed))
    ImageCheckHook().before_train(runner(list('ab')))  # no data set of MMEngine's
    other.backend_args = dict(backend='petrel')
    ImageCheckHook().before_train(runner(other))
    (leaf,) = leaf_datasets(SimpleNamespace(dataset=whole))
    listed = []
    listdir = module.os.listdir
    monkeypatch.setattr(module.os, 'listdir', lambda path: listed.append(path) or listdir(path))
    assert module.missing_files(image_paths(leaf)) == [] and len(listed) == 1


def test_images_that_a_training_skips_are_counted(tmp_path, caplog):
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    ImageCheckHook().before_train(runner(build(tmp_path / 'a', [2, 3], damaged='skip')))
    logger.removeHandler(caplog.handler)
    assert '2 of 8 images are missing' in caplog.text and 'skipped' in caplog.text


@pytest.mark.parametrize('listed', [True, False])
def test_images_with_labels_are_looked_for_where_a_list_names_them(tmp_path, listed):
    (tmp_path / 'owl').mkdir()
    (tmp_path / 'owl/1.png').touch()
    (tmp_path / 'list.txt').write_text('owl/1.png\towl\nowl/2.png\towl\n')
    cfg = dict(type='ImageLabelDataset', data_root=str(tmp_path), pipeline=[], _scope_='mmdet')
    dataset = DATASETS.build(cfg | (dict(ann_file='list.txt') if listed else {}))
    if listed:
        with pytest.raises(FileNotFoundError, match=r'1 of 2 images are missing: .*owl/2\.png\.'):
            ImageCheckHook().before_train(runner(dataset))
    else:
        ImageCheckHook().before_train(runner(dataset))
        (tmp_path / 'owl/1.png').unlink()
        ImageCheckHook().before_train(runner(dataset))
