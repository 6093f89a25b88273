"""tools/train.py and tools/test.py on a tiny model, from a folder that is not the checkout."""

import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmovsam.checkpoints import load_checkpoint_file

NUMBERS = itertools.count()
TOOLS = Path(__file__).resolve().parents[2] / 'tools'
RUNTIME = TOOLS.parent / 'configs' / '_base_' / 'default_runtime.py'
PARTS = """
import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, METRICS, MODELS

@DATASETS.register_module(force=True)
class ToolNumbers(torch.utils.data.Dataset):
    metainfo = dict(classes=('one',))
    def __init__(self, noise=0.0):
        self.noise = noise
    def __len__(self):
        return 7
    def __getitem__(self, index):
        return dict(inputs=torch.tensor([index, self.noise * torch.rand(()).item()]), index=index)

@MODELS.register_module(force=True)
class ToolModel(BaseModel):
    def __init__(self, width=2, stop_at=-1):
        super().__init__()
        self.linear = torch.nn.Linear(width, 1)
        self.stop_at = stop_at
        self.calls = 0
    def forward(self, inputs, index, mode):
        self.calls += 1
        if self.calls == self.stop_at:
            raise KeyboardInterrupt
        out = self.linear(torch.stack(inputs))
        return dict(loss=out.square().mean()) if mode == 'loss' else list(zip(index, out))

@METRICS.register_module(force=True)
class ToolMetric(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results.extend((int(index), float(out)) for index, out in data_samples)
    def compute_metrics(self, results):
        return dict(count=float(len(set(i for i, _ in results))), sum=sum(o for _, o in results))
"""
CONFIG = f"""
_base_ = {str(RUNTIME)!r}
custom_imports = dict(imports=['mmovsam', 'tool_parts'])
model = dict(type='mmengine.ToolModel')
train_dataloader = dict(dataset=dict(type='mmengine.ToolNumbers', noise=1.0),
                        batch_size=2, num_workers=0,
                        sampler=dict(type='DefaultSampler', shuffle=True))
test_dataloader = dict(dataset=dict(type='mmengine.ToolNumbers'), batch_size=2, num_workers=0,
                       sampler=dict(type='DefaultSampler', shuffle=False))
test_evaluator = dict(type='mmengine.ToolMetric')
train_cfg = dict(type='ResumableEpochLoop', max_epochs=2)
test_cfg = dict()
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01))
visualizer = dict(type='mmengine.Visualizer', _delete_=True,
                  vis_backends=[dict(type='mmengine.LocalVisBackend')])
log_level = 'WARNING'
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with a config and the parts it names."""
    folder = tmp_path / 'a folder'
    folder.mkdir()
    (folder / 'tool_parts.py').write_text(PARTS)
    (folder / 'tiny.py').write_text(CONFIG)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    for name in ('MMOVSAM_TRACEBACK', 'LOCAL_RANK', 'RANK', 'WORLD_SIZE'):
        monkeypatch.delenv(name, raising=False)
    yield folder
    sys.modules.pop('tool_parts', None)
    os.environ.pop('LOCAL_RANK', None)


@pytest.fixture
def call(folder, run_tool):
    """`call('train.py tiny.py')` runs a tool; returns its exit status and its output."""

    def run(line):
        # MMEngine keeps loggers by name, and this one's output is captured for a single test
        (folder / 'tiny.py').write_text(f'{CONFIG}experiment_name = "tool{next(NUMBERS)}"\n')
        status, out, err = run_tool(*line.split())
        return status, out + err

    return run


def errors(output):
    return [line for line in output.splitlines() if line.startswith('error: ')]


def test_training_that_is_stopped_says_how_to_go_on_and_goes_on(call):
    status, output = call('train.py tiny.py --work-dir out --cfg-options model.stop_at=6')
    assert status == 130 and '--resume' in output
    status, output = call('train.py tiny.py --work-dir out --resume')
    assert status == 0, output
    options = 'auto_scale_lr.base_batch_size=4 optim_wrapper.optimizer.lr=0.02'  # halved
    status, output = call(f'train.py tiny.py --auto-scale-lr --cfg-options {options}')
    assert status == 0, output
    assert 'enable=True' in Path('work_dirs/tiny/tiny.py').read_text()
    assert output.strip().splitlines()[-1].endswith('work_dirs/tiny')
    whole, resumed = (
        load_checkpoint_file(f'{name}/epoch_2.pth') for name in ('work_dirs/tiny', 'out')
    )
    for checkpoint in (whole, resumed):
        assert checkpoint['optimizer']['param_groups'][0]['lr'] == pytest.approx(0.01)
    for key, value in whole['state_dict'].items():
        assert torch.equal(value, resumed['state_dict'][key])
    status, output = call('test.py tiny.py out/epoch_2.pth --work-dir tested')
    assert status == 0, output
    assert output.strip().splitlines()[-1].startswith('Done. Logs and pictures are in')
    assert '"count": 7.0' in next(Path('tested').glob('*/*.json')).read_text()


@pytest.mark.parametrize(
    ('line', 'expected'),
    [
        ('none.py', r'There is no config none\.py'),
        ('broken.py', r'broken\.py is not valid: '),
        ('tiny.py --cfg-options train_dataloder.batch_size=1', "'train_dataloader'"),
        ('tiny.py --cfg-options model.type=NoSuchModel', 'NoSuchModel is not in the'),
        ('tiny.py --cfg-options load_from=none.pth', r'1 file or folder is missing'),
        ('tiny.py --cfg-options key', 'expects key=value'),
        ('tiny.py --auto-scale-lr', 'base_batch_size'),
        ('tiny.py --launcher slurm', 'use --launcher pytorch'),
        ('tiny.py --launcher pytorch', 'torch.distributed.run'),
    ],
)
def test_mistakes_of_a_training_command_end_in_one_line(call, folder, line, expected):
    (folder / 'broken.py').write_text('model = dict(')
    if '--launcher' in line and torch.cuda.is_available():
        line, expected = 'none.py', 'no config'  # with a GPU MMEngine asks the others
    status, output = call(f'train.py {line}')
    assert status == 2 and 'Traceback' not in output
    assert re.search(expected, '\n'.join(errors(output)) or output)
    assert len(errors(output)) == (0 if 'expects' in expected else 1)


def test_missing_data_and_weights_are_named_in_one_message(call):
    options = 'model.neck.init_cfg.checkpoint=neck.pth model.classifier.classifier=n.safetensors'
    config = TOOLS.parent / 'configs' / 'ovsam_lvis.py'
    status, output = call(f'train.py {config} --cfg-options {options}')
    assert status == 2 and output.count('error: ') == 1
    missing = ('lvis_v1_train.json', 'lvis_v1_val.json', 'neck.pth', 'n.safetensors')
    assert all(name in output for name in missing)


def test_mistakes_of_a_test_command_end_in_one_line(call, monkeypatch):
    torch.save({'state_dict': {'linear.weight': torch.ones(1, 9)}}, 'wide.pth')
    for line, expected in [
        ('tiny.py', 'names no weights'),
        ('tiny.py none.pth', 'is missing'),
        ('tiny.py wide.pth', 'another shape'),
        ('tiny.py wide.pth --out out.json', '.pkl'),
        ('tiny.py wide.pth --tta', 'tta_model and tta_pipeline'),
    ]:
        status, output = call(f'test.py {line}')
        assert status == 2 and expected in errors(output)[0]
    monkeypatch.setenv('MMOVSAM_TRACEBACK', '1')
    with pytest.raises(FileNotFoundError):
        call('test.py none.py')


@pytest.mark.slow
def test_two_processes_train_and_test_without_a_gpu_like_one(call, folder):
    for line in ('train.py tiny.py', 'test.py tiny.py out1/epoch_2.pth'):
        status, output = call(f'{line} --work-dir out1')
        assert status == 0, output
    env = {**os.environ, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': '-1'}
    env['PYTHONPATH'] = os.pathsep.join([str(folder), env.get('PYTHONPATH', '')])
    launch = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2']
    for tool, *more in (['train.py'], ['test.py', 'out1/epoch_2.pth']):
        command = [*launch, str(TOOLS / tool), 'tiny.py', *more, '--launcher', 'pytorch']
        done = subprocess.run(
            [*command, '--work-dir', 'out2'], env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
    scores = []
    for number in (1, 2):
        text = next(Path(f'out{number}').glob('*/*.json')).read_text()
        assert '"count": 7.0' in text
        scores.append(json.loads(text)['sum'])
    assert scores[0] == pytest.approx(scores[1], rel=1e-6)
