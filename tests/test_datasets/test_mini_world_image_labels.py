import cv2
import numpy as np
import pytest
from mmdet.registry import DATASETS

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
    from mmovsam.datasets.mini_world import picture_writer

    monkeypatch.setattr(picture_writer.cv2, 'imencode', lambda *_: (False, None))
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
