import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS

from mmovsam.datasets import MiniWorldPictures
from mmovsam.datasets.mini_world import CATEGORIES, write_pictures

NOVEL = {category.name.replace(' ', '_') for category in CATEGORIES if category.novel}


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob('*.jpg')}


def test_pictures_lie_in_folders_of_their_classes_as_often_novel_as_asked(tmp_path):
    half = files(write_pictures(tmp_path, 24, 3, size=32, progress=False))
    assert len(half) == 24
    assert 4 <= sum(path.parts[0] in NOVEL for path in half) <= 20
    for share, want in ((0, 0), (1, 6)):
        drawn = files(write_pictures(tmp_path, 6, 3, None, share, size=32, progress=False))
        assert sum(path.parts[0] in NOVEL for path in drawn) == want
    pixels = np.frombuffer(next(iter(half.values())), np.uint8)
    assert cv2.imdecode(pixels, cv2.IMREAD_COLOR).shape == (32, 32, 3)


def test_which_classes_are_novel_may_be_told(tmp_path):
    folder = write_pictures(tmp_path, 9, 3, ['* star'], 1, size=32, progress=False)
    assert all(path.parts[0].endswith('_star') for path in files(folder))


def test_same_arguments_draw_the_same_and_only_once(tmp_path):
    first = write_pictures(tmp_path / 'a', 4, 1, size=32, progress=False)
    again = write_pictures(tmp_path / 'b', 4, 1, size=32, progress=False)
    assert (
        files(first)
        == files(again)
        != files(write_pictures(tmp_path / 'b', 4, 2, size=32, progress=False))
    )
    next(first.rglob('*.jpg')).write_bytes(b'changed')
    assert write_pictures(tmp_path / 'a', 4, 1, size=32, progress=False) == first
    assert files(first) != files(again)
    assert not list((tmp_path / 'a').glob('.*.tmp'))


def test_a_drawing_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr('cv2.imencode', lambda *_: (False, None))
    with pytest.raises(OSError, match='could not encode 000000.jpg'):
        write_pictures(tmp_path, 4, 1, size=32, progress=False)
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []


@pytest.mark.parametrize('arguments', [(0, 1), (1, -1), (1, 1, None, 1.5), (1, 1, None, 0.5, 0)])
def test_numbers_out_of_range_are_refused(tmp_path, arguments):
    with pytest.raises(ValueError, match='novel_share from 0 to 1, got'):
        write_pictures(tmp_path, *arguments)


def test_data_set_draws_its_pictures_and_has_all_classes(tmp_path):
    dataset = DATASETS.build(
        dict(
            type='MiniWorldImageLabels',
            data_root=str(tmp_path / 'new'),
            draw=dict(num_images=3, seed=1, size=32, progress=False),
        )
    )
    assert len(dataset) == 3 and len(dataset.metainfo['classes']) == 640
    for index in range(3):
        info = dataset.get_data_info(index)
        name = info['img_id'].split('/')[0].replace('_', ' ')
        assert [dataset.metainfo['classes'][i] for i in info['true_labels']] == [name]


def test_items_are_pictures_with_their_label_and_name():
    dataset = DATASETS.build(dict(type='MiniWorldPictures', num_images=5, seed=3, image_size=64))
    assert len(dataset) == 5
    for index in range(5):
        item = dataset[index]
        assert item['inputs'].shape == (3, 64, 64)
        assert item['inputs'].dtype == torch.uint8
        assert dataset.metainfo['classes'][item['category']] == item['name']


def test_an_item_depends_on_seed_and_index_only():
    short, long = MiniWorldPictures(3, seed=1), MiniWorldPictures(10**9, seed=1)
    assert torch.equal(short[2]['inputs'], long[2]['inputs'])
    assert torch.equal(short[-1]['inputs'], short[2]['inputs'])
    assert not torch.equal(short[1]['inputs'], short[2]['inputs'])
    assert not torch.equal(MiniWorldPictures(3, seed=2)[2]['inputs'], short[2]['inputs'])


def test_an_index_behind_the_end_is_an_index_error():
    with pytest.raises(IndexError):
        MiniWorldPictures(3)[3]


@pytest.mark.parametrize('arguments', [dict(num_images=0), dict(num_images=1, seed=-1)])
def test_impossible_arguments_are_a_value_error(arguments):
    with pytest.raises(ValueError, match='expected num_images'):
        MiniWorldPictures(**arguments)
