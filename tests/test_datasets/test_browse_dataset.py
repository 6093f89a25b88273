"""MMDetection's own tool for looking at a dataset works on each of ours."""

import json
import runpy
import sys
from pathlib import Path

import mmdet
import numpy as np
import pytest
from PIL import Image
from test_open_vocab import CONTENT

ROOT = Path(__file__).resolve().parents[2]
TOOL = Path(mmdet.__file__).parent / '.mim' / 'tools' / 'analysis_tools' / 'browse_dataset.py'
PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='PackDetInputs'),
]


def coco_json(folder):
    (folder / 'coco.json').write_text(json.dumps(CONTENT))
    return dict(type='CocoJsonDataset', ann_file='coco.json', data_prefix=dict(img='val2017'))


def label_map(folder):
    (folder / 'labels').mkdir()
    for i in (1, 2):
        values = np.zeros((10, 20), np.uint8)
        values[2:6, 2:8] = i
        Image.fromarray(values).save(folder / 'labels' / f'{i}.png')
    (folder / 'names.txt').write_text('\nowl\nplum\n')
    return dict(
        type='LabelMapDataset',
        names_file='names.txt',
        data_prefix=dict(img='val2017', seg='labels'),
    )


def sa1b(folder):
    for i in (1, 2):
        (folder / 'val2017' / f'{i}.jpg').rename(folder / 'val2017' / f'sa_{i}.jpg')
        content = dict(image=CONTENT['images'][0], annotations=CONTENT['annotations'])
        (folder / 'val2017' / f'sa_{i}.json').write_text(json.dumps(content))
    return dict(type='SA1BDataset', folders=('val2017',))


@pytest.fixture
def browse(tmp_path, monkeypatch):
    """Runs the tool on a dataset's config; returns the pictures that it wrote."""
    if not TOOL.is_file():
        pytest.skip(f'this MMDetection comes without its tools: {TOOL}')

    def run(dataset, pipeline):
        dataset = dict(dataset, data_root=str(tmp_path), pipeline=pipeline)
        config = tmp_path / 'browse.py'
        config.write_text(
            f'_base_ = {str(ROOT / "configs/_base_/default_runtime.py")!r}\n'
            f'train_dataloader = dict(dataset={dataset!r})\n'
        )
        arguments = [config, '--output-dir', tmp_path / 'shown', '--not-show']
        monkeypatch.setattr(sys, 'argv', ['browse_dataset.py', *map(str, arguments)])
        runpy.run_path(str(TOOL), run_name='__main__')
        return sorted((tmp_path / 'shown').iterdir())

    return run


def write_images(folder):
    (folder / 'val2017').mkdir()
    for i in (1, 2):
        Image.fromarray(np.full((10, 20, 3), 200, np.uint8)).save(folder / 'val2017' / f'{i}.jpg')


@pytest.mark.parametrize('make', [coco_json, label_map, sa1b])
def test_browse_dataset_draws_each_image(browse, tmp_path, make):
    write_images(tmp_path)
    dataset = make(tmp_path)
    plain = [PIPELINE[0], PIPELINE[2]]
    pictures = browse(dataset, PIPELINE)
    assert len(pictures) == 2
    drawn = [np.asarray(Image.open(path)).astype(int) for path in pictures]
    for path in pictures:
        path.unlink()
    for path, picture in zip(browse(dataset, plain), drawn):
        difference = np.abs(picture - np.asarray(Image.open(path)).astype(int)).max()
        annotated = make in (label_map, sa1b) or path.stem == '1'
        assert (difference > 50) == annotated, path
