"""The same metrics from one and from two processes, however unlike the images' prompts are."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import torch
from mmdet.registry import MODELS
from tiny_data import annotation, dataset_config, write_data

from mmovsam.vocabulary import TextClassifier, save_classifier

ROOT = Path(__file__).resolve().parents[2]
NUM_PROPOSALS = (0, 70, 1, 3, 0)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Five images with unlike numbers of proposals, a small OVSAM and the config of its test."""
    monkeypatch.chdir(tmp_path)
    annotations = [annotation(i, [4 + i, 6, 22, 19], i % 5 + 1) for i in range(10)]
    write_data(tmp_path, [(40, 60), (60, 40), (50, 50), (33, 47), (20, 64)], annotations)
    proposals = [
        dict(image_id=image, bbox=[4.0 + i % 9, 6, 20, 12 + i % 7], score=1 / (i + 1))
        for image, count in enumerate(NUM_PROPOSALS, 1)
        for i in range(count)
    ]
    Path('proposals.json').write_text(json.dumps(proposals))
    torch.save(dict(state_dict=MODELS.build(tiny.OVSAM).state_dict()), 'model.pth')
    names = TextClassifier(torch.randn(2, 1, tiny.WIDTH), ('plum', 'owl'), (False, True))
    save_classifier('names.safetensors', names)
    model = dict(
        classifier=dict(classifier='names.safetensors'),
        prompter=dict(type='FilePrompter', file='proposals.json'),
    )
    loader = dict(batch_size=1, num_workers=0, dataset=dataset_config(tmp_path, test_mode=True))
    config = dict(
        _base_=str(ROOT / 'configs' / '_base_' / 'default_runtime.py'),
        model=tiny.merged(tiny.OVSAM, model),
        test_dataloader=dict(loader, sampler=dict(type='DefaultSampler', shuffle=False)),
        test_evaluator=[
            dict(type='OpenVocabMetric', match='iou'),
            dict(type='CocoMetric', ann_file='lvis.json', metric=['bbox', 'segm']),
        ],
        test_cfg=dict(),
    )
    Path('tiny.py').write_text(''.join(f'{key} = {value!r}\n' for key, value in config.items()))
    return tmp_path


def test_metrics_do_not_depend_on_the_number_of_processes(folder, run_tool):
    status, out, err = run_tool('test.py', 'tiny.py', 'model.pth', '--work-dir', 'out1')
    assert status == 0, out + err
    env = {**os.environ, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': '-1'}
    env['PYTHONPATH'] = os.pathsep.join([str(ROOT), env.get('PYTHONPATH', '')])
    launch = ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2']
    test = [str(ROOT / 'tools' / 'test.py'), 'tiny.py', 'model.pth', '--launcher', 'pytorch']
    command = [sys.executable, *launch, *test, '--work-dir', 'out2']
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = []
    for folder in ('out1', 'out2'):
        metrics = json.loads(next(Path(folder).glob('*/*.json')).read_text())
        found.append({key: value for key, value in metrics.items() if 'time' not in key})
    assert any('segm_mAP' in key for key in found[0]) and found[0]['open_vocab/IoU'] > 0
    assert found[1] == pytest.approx(found[0], abs=1e-6)
