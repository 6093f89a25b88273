"""The full-size configs with a detector's boxes as prompts."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from PIL import Image

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
NAMES = sorted(path.stem for path in CONFIGS.glob('ovsam_*_*.py'))


@pytest.mark.parametrize('name', NAMES)
def test_only_prompts_and_evaluators_differ_from_the_config_with_annotated_boxes(name):
    data = name.split('_')[1]
    config = Config.fromfile(CONFIGS / f'{name}.py').to_dict()
    annotated = Config.fromfile(CONFIGS / f'ovsam_{data}.py').to_dict()
    prompter = config['model'].pop('prompter')
    assert prompter['type'] == 'DetectorPrompter' and prompter['score_thr'] == 0
    assert prompter['max_per_img'] == dict(coco=100, lvis=300)[data]  # what the evaluation counts
    assert annotated['model'].pop('prompter') == dict(type='GTPrompter')
    changed = {key for key in {*config, *annotated} if config.get(key) != annotated.get(key)}
    assert changed == {'val_evaluator', 'test_evaluator'}


@pytest.mark.parametrize('name', [*NAMES, 'ovsam_coco_rtmdet+atss_r50_fpn_1x_coco'])
def test_detector_is_of_mmdetections_index_which_has_its_weights(name):
    name, _, other = name.partition('+')
    config = Config.fromfile(CONFIGS / f'{name}.py')
    if other:  # is chosen with its weights by one option
        config.merge_from_dict({'model.prompter.detector': other})
    with torch.device('meta'):
        prompter = MODELS.build(config.model.prompter)
    parameters = sum(parameter.numel() for parameter in prompter.detector.parameters())
    assert parameters > 24e6  # as many has ResNet-50, the smallest of their backbones
    assert prompter.checkpoint.startswith('https://download.openmmlab.com/mmdetection/')
    assert f'/{other}' in prompter.checkpoint


@pytest.fixture
def found(tmp_path, monkeypatch):
    """COCO and LVIS of one picture with one person, where the configs look for them."""
    monkeypatch.chdir(tmp_path)
    for folder in ('coco/annotations', 'coco/val2017', 'lvis/annotations'):
        (tmp_path / 'data' / folder).mkdir(parents=True)
    Image.new('RGB', (60, 40)).save('data/coco/val2017/1.jpg')
    bbox = [10, 5, 20, 30]
    segmentation = [[10, 5, 30, 5, 30, 35, 10, 35]]
    content = dict(
        images=[dict(id=1, width=60, height=40, file_name='1.jpg')],
        annotations=[dict(id=1, image_id=1, category_id=1, bbox=bbox, area=600, iscrowd=0,
                          segmentation=segmentation)],
        categories=[dict(id=i + 1, name=n) for i, n in enumerate(CocoDataset.METAINFO['classes'])],
    )  # fmt: skip
    Path('data/coco/annotations/instances_val2017.json').write_text(json.dumps(content))
    content['images'][0].update(
        coco_url='http://images/val2017/1.jpg', neg_category_ids=[], not_exhaustive_category_ids=[]
    )
    content['categories'] = [dict(id=1, name='person', frequency='f', synonyms=['person'])]
    Path('data/lvis/annotations/lvis_v1_val.json').write_text(json.dumps(content))
    mask = np.zeros((1, 40, 60), bool)
    mask[0, 5:35, 10:30] = True
    return dict(bboxes=np.float32([[10, 5, 30, 35]]), scores=np.float32([0.9]), masks=mask)


@pytest.mark.parametrize(('data', 'name'), [('coco', 'rtmdet'), ('lvis', 'mask_rcnn')])
def test_boxes_of_a_detector_are_measured_by_overlap_and_average_precision(data, name, found):
    config = Config.fromfile(CONFIGS / f'ovsam_{data}_{name}.py')
    dataset = DATASETS.build(config.test_dataloader.dataset)
    sample = dataset[0]['data_samples']
    person = dataset.metainfo['classes'].index('person')
    # A second box, at no object: a prompter gives more boxes than there are objects.
    pred = {key: np.concatenate([value, value * 0]) for key, value in found.items()}
    pred['labels'] = np.array([person, person])
    evaluator = Evaluator(config.test_evaluator)
    evaluator.dataset_meta = dataset.metainfo
    evaluator.process([{**sample.to_dict(), 'pred_instances': pred}])
    values = evaluator.evaluate(1)
    assert values['open_vocab/IoU'] == 1
    assert values[f'{data}/bbox_AP'] == pytest.approx(1)
    assert values[f'{data}/segm_AP'] == pytest.approx(1)
