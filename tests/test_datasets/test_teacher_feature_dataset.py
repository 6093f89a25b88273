"""Images with the teacher's stored embedding."""

from shutil import copytree

import pytest
import tiny_dump
import torch
from mmdet.registry import DATASETS
from torch.utils.data import DataLoader

from mmovsam.datasets import TeacherFeatureDataset
from mmovsam.teacher_features import FeatureStore


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
        assert sample.teacher == store.about['teacher']


@pytest.mark.parametrize('num_workers', [0, 2])
def test_workers_of_a_loader_read_the_same(build, num_workers):
    dataset = build()
    dataset[0]  # a file is open here when the workers are forked
    loader = DataLoader(dataset, batch_size=None, num_workers=num_workers, collate_fn=lambda x: x)
    for index, item in enumerate(loader):
        expected = dataset[index]['data_samples'].teacher_embedding
        assert torch.equal(item['data_samples'].teacher_embedding.data, expected.data)


def test_another_image_size_is_refused_at_the_start(build):
    load, _, pack = tiny_dump.PIPELINE
    with pytest.raises(ValueError, match=r"'size': 96.*'size': 64"):
        build(pipeline=[load, dict(type='ResizeLongestSide', size=64), pack])


def test_other_images_of_the_same_names_are_refused_at_the_start(build, tmp_path):
    tiny_dump.write_images(tmp_path, 6, seed=1)
    with pytest.raises(ValueError, match=r'sa_1.jpg is another image 1 than'):
        build(data_root=str(tmp_path))


def test_an_image_that_was_replaced_later_is_refused_when_it_is_read(build, dumped, tmp_path):
    tiny_dump.write_images(tmp_path, 6)
    dataset = build(data_root=str(tmp_path))
    (tmp_path / 'sa_4.jpg').write_bytes((tmp_path / 'sa_5.jpg').read_bytes())
    with pytest.raises(ValueError, match=r'sa_4.jpg is another image 4'):
        dataset[3]


def test_images_without_features_are_counted_and_named_at_the_start(build, tmp_path):
    tiny_dump.write_images(tmp_path, 8)
    with pytest.raises(ValueError, match=r'2 images of this data set \([78], [78]\).*--out'):
        build(data_root=str(tmp_path))


def test_a_damaged_feature_stops_the_training_and_is_named(build, own_copy):
    dataset = build(own_copy.folder)
    tiny_dump.flip_bit(own_copy, 2)
    with pytest.raises(ValueError, match='image 2 .*recompute'):
        dataset[1]
    with pytest.raises(ValueError, match='image 2 .*recompute'):
        build(own_copy.folder)  # six images: all are compared at the start


def test_a_damaged_feature_is_skipped_on_demand_and_named(build, own_copy, monkeypatch):
    logged = []
    log = 'mmovsam.datasets.teacher_feature_dataset.print_log'
    monkeypatch.setattr(log, lambda text, **kwargs: logged.append(text))
    tiny_dump.flip_bit(own_copy, 2)
    tiny_dump.shard_with(own_copy, 5).write_bytes(b'')
    dataset = build(own_copy.folder, damaged='skip')
    found = {dataset[index]['data_samples'].img_id for index in [1, 4] * 20}
    assert found and not found & {2, 5}
    assert all(any(f'image {i} ' in text for text in logged) for i in (2, 5))


def test_a_store_with_nothing_in_order_ends_even_when_skipping(build, own_copy):
    dataset = build(own_copy.folder, damaged='skip')
    for path in own_copy.shard_paths():
        path.write_bytes(b'')
    with pytest.raises(ValueError, match='in a row'):
        dataset[0]


def test_other_words_and_kinds_of_arguments_are_refused(build, dumped):
    with pytest.raises(ValueError, match="not 'ignore'"):
        build(damaged='ignore')
    inner = DATASETS.build(tiny_dump.images(dumped / 'images'))
    with pytest.raises(TypeError, match='config of a data set'):
        TeacherFeatureDataset(inner, str(dumped / 'features'))


def test_a_missing_store_is_named(build, tmp_path):
    with pytest.raises(FileNotFoundError, match='no teacher features in'):
        build(tmp_path)
