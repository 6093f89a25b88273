"""Data of one's own is tested by a config of a few lines on top of any of ours."""

import json

import tiny
import tiny_data
import torch
from mmdet.registry import MODELS

from mmovsam.vocabulary import TextClassifier, save_classifier

# as in the README, but for the first line
COCO_JSON = """
_base_ = ['base.py']
model = dict(classifier=dict(classifier='my_vocabulary.safetensors'))
test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='CocoJsonDataset',
        data_root='my_data/',
        ann_file='annotations.json',
        data_prefix=dict(img='images/'),
        novel=['owl'],
        test_mode=True,
        pipeline=_base_.test_pipeline,
    )
)
test_evaluator = [
    dict(type='OpenVocabMetric'),
    dict(type='OpenVocabCocoMetric', ann_file='my_data/annotations.json'),
]
"""


def test_own_data_is_evaluated_by_a_short_config(tmp_path, monkeypatch, run_tool):
    """Of two images, with annotations as a COCO file, weights and a vocabulary."""
    data = tmp_path / 'my_data'
    (data / 'images').mkdir(parents=True)
    boxes = ((5, 5, 25, 20), (35, 20, 20, 15))
    entries = [tiny_data.annotation(2 * i + k, boxes[k], i) for i in (1, 2) for k in (0, 1)]
    tiny_data.write_data(data / 'images', [(40, 60)] * 2, entries)
    (data / 'images' / 'lvis.json').rename(data / 'annotations.json')
    torch.save(MODELS.build(tiny.OVSAM).state_dict(), tmp_path / 'weights.pth')
    classifier = TextClassifier(torch.randn(2, 1, tiny.WIDTH), ('plum', 'owl'))
    save_classifier(tmp_path / 'my_vocabulary.safetensors', classifier)
    nowhere = dict(type='OVLVISDataset', data_root='none', ann_file='none.json', base_only=True)
    tiny_data.write_test_config(tmp_path / 'base.py', tiny.OVSAM, nowhere)
    (tmp_path / 'mine.py').write_text(COCO_JSON)
    monkeypatch.chdir(tmp_path)
    status, *_ = run_tool('test.py', 'mine.py', 'weights.pth', '--work-dir', 'out')
    assert not status
    [path] = (tmp_path / 'out').glob('*/*.json')
    metrics = json.loads(path.read_text())
    names = {'IoU', 'acc', 'acc5'}
    names |= {f'{name}_{part}' for name in names for part in ('base', 'novel')}
    assert {f'open_vocab/{name}' for name in names} <= set(metrics)
    assert 0 <= metrics['open_vocab/IoU'] <= 1
    assert 'coco/segm_AP50_novel' in metrics
