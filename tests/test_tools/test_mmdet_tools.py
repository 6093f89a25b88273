"""MMDetection's own inferencer, functions, metrics and tools take OVSAM configs as they are."""

import runpy
import sys
from pathlib import Path

import mmcv
import mmdet
import mmengine
import numpy as np
import pytest
import torch
from mini_world import write_split
from mmdet.apis import DetInferencer, inference_detector, init_detector
from mmengine.config import Config
from mmengine.visualization import Visualizer
from pycocotools import mask as coco_mask

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'configs' / 'mini' / 'ovsam_mini_rtmdet.py'
TOOLS = Path(mmdet.__file__).parent / '.mim' / 'tools' / 'analysis_tools'
WEIGHTS = ROOT / 'mmovsam' / 'weights' / 'ovsam_mini.safetensors'


def run(tool, *arguments):
    """Run a command line in this process."""
    argv, sys.argv = sys.argv, [str(tool), *map(str, arguments)]
    try:
        runpy.run_path(str(tool), run_name='__main__')
    finally:
        sys.argv = argv


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A working folder with two scenes, the config for them and what a test of it dumped."""
    folder = tmp_path_factory.mktemp('a folder')
    cfg = Config.fromfile(CONFIG)
    for name in ('val', 'test'):
        loader = cfg[f'{name}_dataloader']
        loader.update(num_workers=0, persistent_workers=False, batch_size=2)
        loader.dataset.data_root = str(folder)
        write_split(folder, name, 2, progress=False)
        cfg[f'{name}_evaluator'][1].ann_file = f'{folder}/annotations/mini_{name}.json'
    cfg.train_dataloader.dataset.data_root = str(folder)
    write_split(folder, 'train', 2, progress=False)
    cfg.log_level = 'ERROR'
    cfg.work_dir = str(folder / 'work')
    cfg.dump(folder / 'config.py')
    Visualizer._instance_dict.clear()  # hooks take the last one of the process
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run(ROOT / 'tools' / 'test.py', 'config.py', '--out', 'results.pkl', '--show-dir', 'shown')
    return folder


@pytest.fixture(scope='module')
def results(folder):
    return mmengine.load(folder / 'results.pkl')


@pytest.fixture(scope='module')
def detector(folder):
    return init_detector(str(folder / 'config.py'), str(WEIGHTS), device='cpu')


@pytest.fixture(autouse=True)
def inside(folder, monkeypatch):
    monkeypatch.chdir(folder)


def test_a_test_dumps_results_that_pycocotools_reads_and_draws_each_image(folder, results):
    assert len(results) == len(list(folder.rglob('shown/**/*.*'))) == 2
    for result in results:
        found = result['pred_instances']
        assert len(found['masks']) == len(found['scores']) > 0
        areas = coco_mask.area(found['masks'])
        assert tuple(found['masks'][0]['size']) == tuple(result['ori_shape']) and areas.max() > 0


def test_the_inferencer_gives_masks_and_names_for_files_and_arrays(results):
    inferencer = DetInferencer('config.py', str(WEIGHTS), device='cpu', show_progress=False)
    path, dumped = results[0]['img_path'], results[0]['pred_instances']
    for image in (path, mmcv.imread(path)):
        (given,) = inferencer(image, return_datasamples=True, out_dir='inferred')['predictions']
        found = given.pred_instances
        assert found.masks.shape == (len(found), *given.ori_shape) and len(found) > 0
        assert torch.allclose(found.bboxes, dumped['bboxes'], atol=5e-3)
        assert torch.equal(found.labels, dumped['labels'])
    names = inferencer.visualizer.dataset_meta['classes']
    assert len(names) == 640 and list(Path('inferred/vis').glob('*'))


def test_inference_detector_agrees_with_the_test_and_with_supervision(detector, results):
    paths = [result['img_path'] for result in results]
    for sample, result in zip(inference_detector(detector, paths), results):
        expected = result['pred_instances']
        assert torch.allclose(sample.pred_instances.bboxes, expected['bboxes'], atol=5e-3)
        assert torch.equal(sample.pred_instances.labels, expected['labels'])
    supervision = pytest.importorskip('supervision')
    detections = supervision.Detections.from_mmdetection(sample)
    np.testing.assert_array_equal(detections.mask, sample.pred_instances.masks.numpy())


def test_results_are_analyzed_and_a_confusion_matrix_is_drawn():
    """The matrix with all objects as one class: 640 rows take MMDetection gigabytes."""
    run(TOOLS / 'analyze_results.py', 'config.py', 'results.pkl', 'analyzed', '--topk', 1)
    assert [len(list(Path('analyzed', kind).glob('*'))) for kind in ('good', 'bad')] == [1, 1]
    results = mmengine.load('results.pkl')
    for result in results:
        result['pred_instances']['labels'] *= 0
    mmengine.dump(results, 'agnostic.pkl')
    option = 'test_dataloader.dataset.class_agnostic=True'
    command = ['config.py', 'agnostic.pkl', 'matrix', '--cfg-options', option]
    run(TOOLS / 'confusion_matrix.py', *command)
    assert Path('matrix/confusion_matrix.png').is_file()
