import gzip
from functools import partial

import pytest

from mmovsam.apis.image_input import read_image
from mmovsam.datasets import config_files, dataset_files
from mmovsam.datasets.files import on_disk
from mmovsam.datasets.images import check_image
from mmovsam.fileio import read_json
from mmovsam.prompts.result_files import read_results
from mmovsam.vocabulary.names import read_lines, read_names


def test_files_of_wrapped_datasets_are_found():
    inner = dict(
        type='OVLVISDataset',
        data_root='data/lvis',
        ann_file='annotations/train.json',
        data_prefix=dict(img='images'),
    )
    wrapped = dict(type='ConcatDataset', datasets=[dict(type='RepeatDataset', dataset=inner)])
    paths = [path for path, _ in dataset_files(wrapped)]
    assert paths == ['data/lvis/annotations/train.json', 'data/lvis/images']
    assert all('lvisdataset.org' in remedy for _, remedy in dataset_files(wrapped))
    cfg = dict(
        train_dataloader=dict(dataset=wrapped),
        val_dataloader=None,
        test_dataloader=dict(dataset=dict(type='SA1BDataset', data_root='sa', folders=['sa_0'])),
    )
    assert [path for path, _ in config_files(cfg)] == [*paths, 'sa/sa_0']
    assert [path for path, _ in config_files(cfg, ['test'])] == ['sa/sa_0']


@pytest.mark.parametrize(
    ('content', 'remedy'),
    [
        (b'version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 2\n', 'git lfs pull'),
        (gzip.compress(b'{}', mtime=0), 'gzip: unpack it'),
        (b'PK\x03\x04' + b'\0' * 30, 'ZIP archive'),
        (b'\n<!DOCTYPE html><html>Sign in</html>', 'web page'),
    ],
    ids=['git-lfs', 'gzip', 'zip', 'web-page'],
)
def test_what_stands_for_another_file_is_called_so_by_every_reader(tmp_path, content, remedy):
    (tmp_path / 'a.json').write_bytes(content)
    (tmp_path / 'a.jpg').write_bytes(content)
    for read in (partial(read_json, remedy=''), read_results, read_names, read_lines):
        with pytest.raises(ValueError, match=f'a.json is .*{remedy}'):
            read(tmp_path / 'a.json')
    for read in (read_image, check_image):
        with pytest.raises(ValueError, match=f'a.jpg is .*{remedy}'):
            read(str(tmp_path / 'a.jpg'))


UTF16 = '{"images": [], "categories": []}'.encode('utf-16-le')
TWICE = b'{"images": [{"id": 3, "id": 4}]}'


@pytest.mark.parametrize(
    'content', [b'', b'{"images": [', b'<html>', b'\x01', b'[1]', UTF16, TWICE]
)
def test_what_is_no_json_object_is_named(tmp_path, content):
    path = tmp_path / 'annotations.json'
    path.write_bytes(content)
    with pytest.raises(
        ValueError,
        match=r'annotations\.json (is truncated or not JSON.*remedy|holds a|is not UTF|is a web)',
    ):
        read_json(path, 'remedy')
    for read in (read_results, read_names) if content == UTF16 else ():
        with pytest.raises(ValueError, match=r'annotations\.json is not UTF-8.*save it as UTF-8'):
            read(path)


@pytest.mark.parametrize(
    'on_disk_as, listed',
    [
        ('a/b/1.jpg', ['a\\b\\1.jpg', 'a/b\\1.jpg']),
        ('a/caf\u00e9.jpg', ['a/cafe\u0301.jpg', 'a\\caf\u00e9.jpg']),
        ('cafe\u0301.jpg', ['cafe\u0301.jpg', 'caf\u00e9.jpg']),
        ('a\\b.jpg', ['a\\b.jpg']),
    ],
)
def test_paths_from_other_systems_are_found(tmp_path, on_disk_as, listed):
    path = tmp_path / on_disk_as
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    for name in listed:
        assert on_disk(f'{tmp_path}/{name}') == str(path)
    assert on_disk('gone\\é.jpg') == 'gone\\é.jpg'
