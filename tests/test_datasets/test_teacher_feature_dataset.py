"""Images with the teacher's stored embedding."""

from collections import Counter
from pathlib import Path
from shutil import copytree

import pytest
import tiny_dump
import torch
from mmdet.registry import DATASETS

from mmovsam.teacher_features import FeatureStore

LOAD, RESIZE, PACK = tiny_dump.PIPELINE


@pytest.fixture(scope='module')
def dumped(tmp_path_factory):
    """A folder with images and a store of their features."""
    folder = tmp_path_factory.mktemp('dumped')
    cfg = tiny_dump.config(folder)
    tiny_dump.dump(cfg, folder / 'features', 'int8')
    return folder


@pytest.fixture
def build(dumped):
    def build_dataset(features=dumped / 'features', damaged='stop', **changes):
        inner = tiny_dump.images(dumped / 'images', **changes)
        config = dict(
            type='TeacherFeatureDataset', dataset=inner, features=str(features), damaged=damaged
        )
        return DATASETS.build(config)

    return build_dataset


@pytest.fixture
def own_copy(dumped, tmp_path):
    """A store that a test may damage."""
    return FeatureStore(copytree(dumped / 'features', tmp_path / 'features'))


def test_each_item_has_the_feature_of_its_image(build, dumped):
    dataset, store = build(), FeatureStore(dumped / 'features')
    assert len(dataset) == 6 and dataset.metainfo['classes'] == ('object',)
    for index in range(6):
        sample = dataset[index]['data_samples']
        assert sample.img_id == dataset.get_data_info(index)['img_id']
        expected = store.read(sample.img_id).embedding
        assert torch.equal(sample.teacher_embedding.data, expected.data)
        assert sample.teacher_embedding.decode().shape == (32, 6, 6)
        assert sample.teacher == store.metadata['teacher']


def test_each_image_is_opened_once_in_training_and_in_dumping(build, tmp_path, monkeypatch):
    dataset, cfg = build(), tiny_dump.config(tmp_path)
    opened, real = Counter(), open

    def counting(file, *args, **kwargs):
        if str(file).endswith('.jpg'):
            opened[Path(file).name] += 1
        return real(file, *args, **kwargs)

    monkeypatch.setattr('builtins.open', counting)
    for index in range(6):
        dataset[index]
        dataset.dataset[index]  # without features
    assert len(opened) == 6 and set(opened.values()) == {2}
    opened.clear()
    tiny_dump.dump(cfg, tmp_path / 'features', 'int8')
    assert len(opened) == 6 and set(opened.values()) == {1}


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(pipeline=[LOAD, RESIZE, dict(type='RandomFlip', prob=0.5), PACK]), 'RandomFlip'),
        (dict(pipeline=[LOAD, dict(type='ResizeLongestSide', size=64), PACK]), "96.*'size': 64"),
        (dict(damaged='ignore'), "damaged is 'ignore'"),
        (dict(features='none'), 'no teacher features in'),
    ],
)
def test_other_places_of_pixels_and_wrong_settings_are_refused_at_the_start(
    build, changes, message
):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        build(**changes)


def test_other_images_are_refused_at_the_start_or_when_they_are_read(build, dumped, tmp_path):
    tiny_dump.write_images(tmp_path, 6, seed=1)
    with pytest.raises(ValueError, match=r'sa_1.jpg is another image 1 than'):
        build(data_root=str(tmp_path))
    tiny_dump.write_images(tmp_path, 6)
    dataset = build(data_root=str(tmp_path))
    (tmp_path / 'sa_4.jpg').write_bytes((tmp_path / 'sa_5.jpg').read_bytes())
    with pytest.raises(ValueError, match=r'sa_4.jpg is another image 4'):
        dataset[3]
    tiny_dump.write_images(tmp_path, 8)
    with pytest.raises(ValueError, match=r'2 images of this data set \([78], [78]\).*--out'):
        build(data_root=str(tmp_path))


def test_a_damaged_feature_stops_the_training_or_is_skipped_on_demand(build, own_copy, logged):
    dataset = build(own_copy.folder)
    tiny_dump.flip_bit(own_copy, 2)
    for read in (lambda: dataset[1], lambda: build(own_copy.folder)):  # all six are compared
        with pytest.raises(ValueError, match='image 2 .*recompute'):
            read()
    tiny_dump.shard_with(own_copy, 5).write_bytes(b'')
    dataset = build(own_copy.folder, damaged='skip')
    found = {dataset[index]['data_samples'].img_id for index in [1, 4] * 20}
    assert found and not found & {2, 5}
    assert 'image 2 ' in logged.text and 'image 5 ' in logged.text
    for path in own_copy.shard_paths():
        path.write_bytes(b'')
    with pytest.raises(ValueError, match='in a row'):
        dataset[0]
