"""Filling a store: whatever happens in between, each image's feature is computed once."""

import os
import random
import shutil
import signal
import time

import numpy as np
import pytest
import tiny
import tiny_dump
import torch
from filelock import FileLock
from mmdet.registry import DATASETS, MODELS

from mmovsam.datasets import SA1BDataset
from mmovsam.engine.teacher_dump import dump_teacher_features
from mmovsam.teacher_features import DamagedFeatureError, FeatureStore, check_store


@DATASETS.register_module(force=True)
class NotedImages(SA1BDataset):
    """Writes down which images are read."""

    def __init__(self, *args, notes, pause=0.0, **kwargs):
        self.notes, self.pause = notes, pause
        super().__init__(*args, **kwargs)

    def prepare_data(self, idx):
        with open(self.notes, 'a') as file:
            file.write(f'{self.get_data_info(idx)["img_id"]}\n')
        time.sleep(self.pause)
        return super().prepare_data(idx)


@pytest.fixture
def config(tmp_path):
    """`config(count=6)`: of a dump, with notes of the images that it reads."""

    def make_config(count=6, **dataset):
        noted = dict(type='NotedImages', notes=str(tmp_path / 'notes'), **dataset)
        return tiny_dump.config(tmp_path, count, **noted)

    return make_config


@pytest.fixture
def taken(tmp_path):
    """`taken()`: the images that were read since it was called last."""

    def take():
        path = tmp_path / 'notes'
        images = list(map(int, tiny_dump.lines(path)))
        path.unlink(missing_ok=True)
        return images

    return take


def features(folder, count=6):
    store = FeatureStore(folder)
    return [store.read(i).embedding.data for i in range(1, count + 1)]


def test_features_are_what_the_teacher_says_of_each_image(config, tmp_path):
    cfg = config()
    cfg.train_dataloader.batch_size = 4  # the last batch has two
    done = tiny_dump.dump(cfg, tmp_path / 'out')
    assert (done.num_features, done.damaged, done.rounding) == (6, [], 0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    dataset = DATASETS.build(tiny_dump.images(tmp_path / 'images'))
    store = FeatureStore(tmp_path / 'out')
    for index in range(6):
        item = dataset[index]
        inputs = dict(inputs=[item['inputs']], data_samples=[item['data_samples']])
        with torch.no_grad():
            expected = model.teacher(model.data_preprocessor(inputs)['inputs'])[0]
        stored = store.read(index + 1).embedding.decode()
        assert torch.allclose(stored, expected, atol=1e-5)
    assert torch.equal(store.pos_embed, model.teacher.pos_embed)
    assert store.about['shape'] == list(expected.shape)


def test_what_rounding_costs_is_measured(config, tmp_path):
    cfg = config()
    exact, rounded = (tiny_dump.dump(cfg, tmp_path / kind, kind) for kind in ('float32', 'int8'))
    assert exact.rounding == 0
    squares = [
        (FeatureStore(tmp_path / 'int8').read(i).embedding.decode()
         - FeatureStore(tmp_path / 'float32').read(i).embedding.decode()).square().mean()
        for i in range(1, 7)
    ]  # fmt: skip
    assert rounded.rounding == pytest.approx(np.mean(squares), rel=1e-3)


def test_a_second_call_computes_only_what_is_new(config, tmp_path, taken):
    tiny_dump.dump(config(4), tmp_path / 'out')
    assert sorted(taken()) == [1, 2, 3, 4]
    assert tiny_dump.dump(config(6), tmp_path / 'out').num_features == 6
    assert sorted(taken()) == [5, 6]
    assert tiny_dump.dump(config(6), tmp_path / 'out').rounding is None
    assert taken() == []


def test_kills_at_any_moment_cost_no_finished_image(config, tmp_path, taken):
    seed = random.SystemRandom().randrange(2**32)
    print(f'seed {seed}')
    chance = random.Random(seed)
    count = 9
    cfg = config(count, pause=0.01)
    tiny_dump.dump(cfg, tmp_path / 'whole')
    taken()
    kills = 0
    finished = set()
    while len(finished) < count:
        child = tiny_dump.in_child(lambda: tiny_dump.dump(cfg, tmp_path / 'out'))
        wanted = chance.randint(1, 3)
        while os.waitpid(child, os.WNOHANG) == (0, 0):
            if len(tiny_dump.lines(tmp_path / 'notes')) >= wanted:
                time.sleep(chance.uniform(0, 0.05))
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                kills += 1
                break
            time.sleep(0.002)
        computed = taken()
        assert len(set(computed)) == len(computed) and not finished & set(computed)
        # A reader takes nothing back that was written by half: look at a copy.
        shutil.copytree(tmp_path / 'out', tmp_path / 'copy')
        store = FeatureStore(tmp_path / 'copy')
        store.recover()
        stored = set(range(1, count + 1)) - set(store.missing(range(1, count + 1)))
        assert stored >= finished and len(stored) >= len(finished) + len(computed) - 1
        assert check_store(store, num_workers=0).problems == []
        shutil.rmtree(tmp_path / 'copy')
        finished = stored
    assert kills >= 2
    tiny_dump.dump(cfg, tmp_path / 'out')
    found = zip(features(tmp_path / 'out', count), features(tmp_path / 'whole', count))
    assert all(torch.equal(killed, whole) for killed, whole in found)


def test_two_processes_divide_the_images_and_give_the_same(config, tmp_path, taken):
    count = 10
    cfg = config(count)
    tiny_dump.dump(cfg, tmp_path / 'one')
    taken()

    def run(rank):
        cfg.train_dataloader.dataset.notes = str(tmp_path / f'notes{rank}')
        assert tiny_dump.dump(cfg, tmp_path / 'two').num_features == count

    assert tiny_dump.in_two_processes(run) == [0, 0]
    shares = [set(map(int, tiny_dump.lines(tmp_path / f'notes{rank}'))) for rank in (0, 1)]
    assert all(shares) and shares[0] | shares[1] == set(range(1, count + 1))
    store = FeatureStore(tmp_path / 'two')
    shards = [{store.shard_of(i) for i in share} for share in shares]
    assert not shards[0] & shards[1]
    found = zip(features(tmp_path / 'two', count), features(tmp_path / 'one', count))
    assert all(torch.equal(two, one) for two, one in found)


def test_a_damaged_feature_is_computed_again_on_demand_and_no_other(config, tmp_path, taken):
    cfg, folder = config(), tmp_path / 'out'
    tiny_dump.dump(cfg, folder)
    before = features(folder)
    store = FeatureStore(folder)
    tiny_dump.flip_bit(store, 3)
    taken()
    tiny_dump.dump(cfg, folder)
    assert taken() == []  # nothing reads what is there unless it is asked to
    done = tiny_dump.dump(cfg, folder, damaged='skip')
    assert len(done.damaged) == 1 and 'image 3 ' in done.damaged[0] and taken() == []
    assert tiny_dump.dump(cfg, folder, damaged='recompute').damaged == []
    assert taken() == [3]
    assert all(torch.equal(a, b) for a, b in zip(features(folder), before))


def test_a_truncated_shard_is_named_passed_over_or_computed_again(config, tmp_path, taken):
    cfg, folder = config(), tmp_path / 'out'
    tiny_dump.dump(cfg, folder)
    before = features(folder)
    store = FeatureStore(folder)
    path = tiny_dump.shard_with(store, 3)
    lost = [i for i in range(1, 7) if tiny_dump.shard_with(store, i) == path]
    store.close()
    path.write_bytes(path.read_bytes()[:-70_000])
    taken()
    with pytest.raises(DamagedFeatureError, match=f'{path.name} is damaged.*--damaged recompute'):
        tiny_dump.dump(cfg, folder)
    assert path.name in tiny_dump.dump(cfg, folder, damaged='skip').damaged[0]
    assert taken() == []
    tiny_dump.dump(cfg, folder, damaged='recompute')
    assert sorted(taken()) == lost
    assert all(torch.equal(a, b) for a, b in zip(features(folder), before))


def test_the_size_is_said_at_the_start_and_a_small_disk_is_refused(
    config, tmp_path, monkeypatch, capsys
):
    cfg = config()
    free = shutil.disk_usage(tmp_path)._replace(free=20_000)
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: free)
    with pytest.raises(OSError, match='6 images take 27.8 KiB as float32.*int8'):
        dump_teacher_features(cfg, tmp_path / 'out', 'float32')  # 4608 bytes each
    dump_teacher_features(cfg, tmp_path / 'out8', 'int8')  # 1408 bytes each
    said = '6 images, 0 of them done. As int8 the others take about 8.5 KiB, all 8.5 KiB;'
    assert said in capsys.readouterr().out


def test_another_type_teacher_or_size_does_not_mix_into_a_store(config, tmp_path):
    cfg, folder = config(), tmp_path / 'out'
    tiny_dump.dump(cfg, folder)
    with pytest.raises(ValueError, match='type of the values: float32, not int8'):
        tiny_dump.dump(cfg, folder, 'int8')
    tiny_dump.write_teacher(tmp_path / 'sam.pth', seed=1)
    with pytest.raises(ValueError, match='fingerprint'):
        tiny_dump.dump(cfg, folder)


def test_moving_augmentation_is_refused_before_anything_is_written(config, tmp_path):
    load, resize, pack = tiny_dump.PIPELINE
    cfg = config(pipeline=[load, resize, dict(type='RandomFlip', prob=0.5), pack])
    with pytest.raises(ValueError, match='RandomFlip moves pixels'):
        tiny_dump.dump(cfg, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_a_config_whose_data_set_has_stored_features_can_be_dumped(config, tmp_path):
    cfg = config()
    folder = str(tmp_path / 'out')
    cfg.model.features = folder
    inner = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(
        type='TeacherFeatureDataset', features=folder, dataset=inner
    )
    assert tiny_dump.dump(cfg, folder).num_features == 6
    assert len(DATASETS.build(cfg.train_dataloader.dataset)) == 6


def test_two_images_of_one_id_are_refused(config, tmp_path):
    cfg = config()
    (tmp_path / 'images' / 'sa_x_3.jpg').write_bytes(
        (tmp_path / 'images' / 'sa_2.jpg').read_bytes()
    )
    with pytest.raises(ValueError, match=r'sa_3.jpg and .*sa_x_3.jpg have the same id, 3'):
        tiny_dump.dump(cfg, tmp_path / 'out')


def test_an_image_that_is_there_twice_is_computed_once(config, tmp_path, taken):
    cfg = config()
    cfg.train_dataloader.dataset = dict(
        type='RepeatDataset', times=2, dataset=cfg.train_dataloader.dataset
    )
    assert tiny_dump.dump(cfg, tmp_path / 'out').num_features == 6
    assert sorted(taken()) == [1, 2, 3, 4, 5, 6]


def test_a_second_dump_into_the_same_folder_is_refused(config, tmp_path):
    (tmp_path / 'out').mkdir()
    with FileLock(tmp_path / 'out' / '.lock'), pytest.raises(ValueError, match='Another dump'):
        tiny_dump.dump(config(), tmp_path / 'out')


def test_a_teacher_without_weights_is_refused(config, tmp_path):
    cfg = config()
    cfg.model.teacher = tiny.SAM_ENCODER
    with pytest.raises(ValueError, match='none of the files'):
        tiny_dump.dump(cfg, tmp_path / 'out')
    cfg.model.teacher = None
    with pytest.raises(ValueError, match='no teacher'):
        tiny_dump.dump(cfg, tmp_path / 'out')


def test_missing_weights_are_named_with_how_to_get_them(config, tmp_path):
    cfg = config()
    cfg.model.teacher.init_cfg.checkpoint = str(tmp_path / 'sam_vit_h_4b8939.pth')
    with pytest.raises(FileNotFoundError, match='sam_vit_h_4b8939.pth\n.*segment-anything'):
        tiny_dump.dump(cfg, tmp_path / 'out')


def test_another_word_for_damaged_is_refused(config, tmp_path):
    with pytest.raises(ValueError, match="not 'repair'"):
        tiny_dump.dump(config(), tmp_path / 'out', damaged='repair')
