"""Filling a store: whatever happens in between, each image's feature is computed once."""

import copy
import shutil

import pytest
import tiny_dump
import torch
from filelock import FileLock
from mmdet.registry import DATASETS, MODELS

from mmovsam.datasets import SA1BDataset
from mmovsam.engine.teacher_dump import dump_teacher_features
from mmovsam.teacher_features import DamagedFeatureError, FeatureStore


@DATASETS.register_module(force=True)
class NotedImages(SA1BDataset):
    """Writes down which images are read."""

    def __init__(self, *args, notes, **kwargs):
        self.notes = notes
        super().__init__(*args, **kwargs)

    def prepare_data(self, idx):
        with open(self.notes, 'a') as file:
            file.write(f'{self.get_data_info(idx)["img_id"]}\n')
        return super().prepare_data(idx)


@pytest.fixture
def config(tmp_path):
    """`config(count=6)`: of a dump, with notes of the images that it reads."""
    noted = dict(type='NotedImages', notes=str(tmp_path / 'notes'))
    return lambda count=6: tiny_dump.config(tmp_path, count, **noted)


@pytest.fixture
def taken(tmp_path):
    """`taken()`: the images that were read since it was called last."""

    def take():
        path = tmp_path / 'notes'
        images = list(map(int, tiny_dump.lines(path)))
        path.unlink(missing_ok=True)
        return images

    return take


@pytest.fixture(scope='module')
def first_dump(tmp_path_factory):
    """Images, weights and a store of their features, and what dumping has said."""
    folder = tmp_path_factory.mktemp('dumped')
    cfg = tiny_dump.config(folder)
    return folder, cfg, tiny_dump.dump(cfg, folder / 'out')


@pytest.fixture
def dumped(first_dump, config, tmp_path):
    """Config and folder of a copy, in which each may be changed."""
    cfg = config()
    shutil.copytree(first_dump[0] / 'out', tmp_path / 'out')
    return cfg, tmp_path / 'out'


def same_features(one, other):
    stores = FeatureStore(one), FeatureStore(other)
    pairs = ([store.read(i).embedding.data for store in stores] for i in range(1, 7))
    return all(torch.equal(*pair) for pair in pairs)


def test_features_are_what_the_teacher_says_of_each_image(first_dump):
    folder, cfg, done = first_dump
    assert (done.num_features, done.damaged, done.rounding) == (6, [], 0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    dataset = DATASETS.build(tiny_dump.images(folder / 'images'))
    store = FeatureStore(folder / 'out')
    for index in range(6):
        item = dataset[index]
        inputs = dict(inputs=[item['inputs']], data_samples=[item['data_samples']])
        with torch.no_grad():
            expected = model.teacher(model.data_preprocessor(inputs)['inputs'])[0]
        stored = store.read(index + 1).embedding.decode()
        assert torch.allclose(stored, expected, atol=1e-5)
    assert torch.equal(store.pos_embed, model.teacher.pos_embed)
    assert store.metadata['shape'] == list(expected.shape)


def test_a_second_call_computes_only_what_is_new_and_images_that_are_there_twice_once(
    config, tmp_path, taken
):
    cfg = config(4)
    inner = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(type='RepeatDataset', times=2, dataset=inner)
    assert tiny_dump.dump(cfg, tmp_path / 'out').num_features == 4
    assert sorted(taken()) == [1, 2, 3, 4]
    assert tiny_dump.dump(config(), tmp_path / 'out').num_features == 6
    assert sorted(taken()) == [5, 6]
    assert tiny_dump.dump(config(), tmp_path / 'out').rounding is None
    assert taken() == []


def test_two_processes_divide_the_images_and_give_the_same(first_dump, config, tmp_path):
    cfg = config()

    def run(rank):
        cfg.train_dataloader.dataset.notes = str(tmp_path / f'notes{rank}')
        assert tiny_dump.dump(cfg, tmp_path / 'two').num_features == 6

    assert tiny_dump.in_two_processes(run) == [0, 0]
    shares = [set(map(int, tiny_dump.lines(tmp_path / f'notes{rank}'))) for rank in (0, 1)]
    assert all(shares) and shares[0] | shares[1] == set(range(1, 7))
    store = FeatureStore(tmp_path / 'two')
    shards = [{store.shard_of(i) for i in share} for share in shares]
    assert not shards[0] & shards[1]
    assert same_features(tmp_path / 'two', first_dump[0] / 'out')


def test_a_damaged_feature_is_computed_again_on_demand_and_no_other(first_dump, dumped, taken):
    cfg, folder = dumped
    tiny_dump.flip_bit(FeatureStore(folder), 3)
    tiny_dump.dump(cfg, folder)
    assert taken() == []  # nothing reads what is there unless it is asked to
    done = tiny_dump.dump(cfg, folder, damaged='skip')
    assert len(done.damaged) == 1 and 'image 3 ' in done.damaged[0] and taken() == []
    assert tiny_dump.dump(cfg, folder, damaged='recompute').damaged == []
    assert taken() == [3]
    path = tiny_dump.shard_with(FeatureStore(folder), 3)
    path.write_bytes(path.read_bytes()[:-70_000])
    with pytest.raises(DamagedFeatureError, match=f'{path.name} is damaged.*--damaged recompute'):
        tiny_dump.dump(cfg, folder)
    assert path.name in tiny_dump.dump(cfg, folder, damaged='skip').damaged[0]
    tiny_dump.dump(cfg, folder, damaged='recompute')
    assert 3 in taken()
    assert same_features(folder, first_dump[0] / 'out')


def test_the_size_is_said_at_the_start_and_a_small_disk_is_refused(
    first_dump, tmp_path, monkeypatch, capsys
):
    cfg = first_dump[1]
    free = shutil.disk_usage(tmp_path)._replace(free=20_000)
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: free)
    with pytest.raises(OSError, match='6 images take 27.8 KiB as float32.*int8'):
        dump_teacher_features(cfg, tmp_path / 'out', 'float32')  # 4608 bytes each
    dump_teacher_features(cfg, tmp_path / 'out8', 'int8')  # 1408 bytes each
    text = '6 images, 0 of them done. As int8 the others take about 8.5 KiB, all 8.5 KiB;'
    assert text in capsys.readouterr().out


def test_what_cannot_be_dumped_is_told_before_anything_is_written(first_dump, tmp_path):
    flip = dict(type='RandomFlip', prob=0.5)
    missing = dict(checkpoint='sam_vit_h_4b8939.pth')
    for change, message in (
        (lambda c: c.train_dataloader.dataset.pipeline.insert(2, flip), 'RandomFlip moves pixels'),
        (lambda c: c.model.teacher.pop('init_cfg'), 'none of the files'),
        (lambda c: c.model.pop('teacher'), 'no teacher'),
        (lambda c: c.model.teacher.init_cfg.update(missing), r'4b8939.pth\n.*segment-anything'),
    ):
        cfg = copy.deepcopy(first_dump[1])
        change(cfg)
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            tiny_dump.dump(cfg, tmp_path / 'out')
        assert not (tmp_path / 'out').exists()


def test_what_does_not_go_with_the_folder_is_refused(dumped, tmp_path):
    cfg, folder = dumped
    with pytest.raises(ValueError, match='type of the values: float32, not int8'):
        tiny_dump.dump(cfg, folder, 'int8')
    with pytest.raises(ValueError, match="damaged is 'repair'"):
        tiny_dump.dump(cfg, folder, damaged='repair')
    with FileLock(folder / '.lock'), pytest.raises(ValueError, match='Another run'):
        tiny_dump.dump(cfg, folder)
    tiny_dump.write_teacher(tmp_path / 'sam.pth', seed=1)
    with pytest.raises(ValueError, match='fingerprint'):
        tiny_dump.dump(cfg, folder)
    shutil.copy(tmp_path / 'images/sa_2.jpg', tmp_path / 'images/sa_x_3.jpg')
    with pytest.raises(ValueError, match=r'sa_3.jpg and .*sa_x_3.jpg have the same id, 3'):
        tiny_dump.dump(cfg, folder)
