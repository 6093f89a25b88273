"""MMDetection's own tool for looking at a dataset works on ours."""

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
LOAD, ANNOTATIONS, PACK = (
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='PackDetInputs'),
)


@pytest.mark.skipif(not TOOL.is_file(), reason='this MMDetection comes without its tools')
def test_browse_dataset_draws_each_image(tmp_path, monkeypatch):
    (tmp_path / 'coco.json').write_text(json.dumps(CONTENT))
    for i in (1, 2):
        Image.fromarray(np.full((10, 20, 3), 200, np.uint8)).save(tmp_path / f'{i}.jpg')
    shown = []
    for pipeline in ([LOAD, ANNOTATIONS, PACK], [LOAD, PACK]):
        dataset = dict(type='CocoJsonDataset', data_root=str(tmp_path), ann_file='coco.json',
                       data_prefix=dict(img=''), pipeline=pipeline)  # fmt: skip
        config, out = tmp_path / 'browse.py', tmp_path / f'shown{len(shown)}'
        config.write_text(
            f'_base_ = {str(ROOT / "configs/_base_/default_runtime.py")!r}\n'
            f'train_dataloader = dict(dataset={dataset!r})\n'
        )
        arguments = ['browse_dataset.py', str(config), '--output-dir', str(out), '--not-show']
        monkeypatch.setattr(sys, 'argv', arguments)
        runpy.run_path(str(TOOL), run_name='__main__')
        shown.append([np.asarray(Image.open(out / f'{i}.jpg')).astype(int) for i in (1, 2)])
    differences = [np.abs(first - second).max() for first, second in zip(*shown)]
    assert differences[0] > 50 > differences[1], 'only the first has objects'
