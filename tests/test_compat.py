"""Each repair is tested with its real fault, in a process of its own."""

import os
import subprocess
import sys

import pytest
import torch

import mmovsam.compat as compat

# What a CPU build of torch does with the operators of a CUDA build of torchvision.
OPERATORS_DO_NOT_LOAD = """
import torch
load = torch.ops.load_library
def refuse(path):
    if 'torchvision' in str(path):
        raise OSError('libcudart.so: cannot open shared object file')
    return load(path)
torch.ops.load_library = refuse
"""
TINY_TRAINING = """
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner

class Tiny(BaseModel):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(2, 1)
    def forward(self, inputs, mode='loss'):
        return dict(loss=self.linear(inputs).mean())

def runner(work_dir, epochs, **kwargs):
    data = dict(dataset=torch.utils.data.TensorDataset(torch.ones(4, 2)), batch_size=2,
                num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True),
                collate_fn=lambda rows: dict(inputs=torch.stack([row[0] for row in rows])))
    return Runner(Tiny(), work_dir, train_dataloader=data, train_cfg=dict(by_epoch=True,
                  max_epochs=epochs), optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
                  log_level='WARNING', experiment_name=f'tiny{epochs}', **kwargs)
"""


def run(code, *args):
    env = {**os.environ, 'OMP_NUM_THREADS': '1'}
    done = subprocess.run(
        [sys.executable, '-c', code, *map(str, args)], env=env, capture_output=True, text=True
    )
    return done.returncode, done.stdout + done.stderr


def test_torchvision_without_operators_fails_alone():
    code, output = run(OPERATORS_DO_NOT_LOAD + 'import torchvision')
    assert code != 0 and 'operator torchvision::nms does not exist' in output


def test_torchvision_without_operators_imports_after_mmovsam():
    code, output = run(
        OPERATORS_DO_NOT_LOAD + 'import mmovsam, torchvision, open_clip\n'
        'from mmengine.utils.dl_utils import collect_env\nprint(collect_env()["TorchVision"])'
    )
    assert code == 0, output


def test_torchvision_with_operators_is_left_alone():
    code, output = run(
        'import torch\n'
        'own = torch.library.Library("torchvision", "DEF")\n'
        'for name in ("nms", "qnms"):\n'
        '    own.define(name + "(Tensor d, Tensor s, float t) -> Tensor")\n'
        'own.impl("nms", lambda d, s, t: torch.tensor([7]), "CPU")\n'
        'from mmovsam.compat import mend_torchvision\n'
        'assert not mend_torchvision()\n'
        'box = torch.zeros(1, 4)\n'
        'assert torch.ops.torchvision.nms(box, box[:, 0], 0.5).item() == 7\n'
    )
    assert code == 0, output


def test_mending_twice_changes_nothing():
    compat.mend()
    assert not compat.mend_torchvision()


@pytest.fixture(scope='module')
def mmengine_checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp('tiny')
    code, output = run('import mmovsam\n' + TINY_TRAINING + f'runner({str(folder)!r}, 1).train()')
    assert code == 0, output
    return folder / 'epoch_1.pth'


def test_state_of_mmengine_is_refused_without_mmovsam(mmengine_checkpoint):
    load = f'import torch; torch.load({str(mmengine_checkpoint)!r}, weights_only=True)'
    code, output = run(load)
    assert code != 0 and 'Weights only load failed' in output


def test_training_resumes_from_the_state_of_mmengine(mmengine_checkpoint):
    folder = str(mmengine_checkpoint.parent)
    code, output = run(
        'import mmovsam\n' + TINY_TRAINING + f'r = runner({folder!r}, 2, resume=True)\nr.train()\n'
        'assert r.epoch == 2, r.epoch\n'
        'history = r.message_hub.get_scalar("train/loss")\n'
        'assert len(history.data[0]) == 4, history.data\n'
        'print(history.mean(), history.current())'
    )
    assert code == 0, output


def test_getattr_of_a_checkpoint_reaches_nothing_but_statistics(tmp_path):
    class Reach:
        def __reduce__(self):
            return getattr, (torch.Tensor, 'backward')

    path = tmp_path / 'reach.pth'
    torch.save({'state_dict': {}, 'x': Reach()}, path)
    with pytest.raises(Exception, match='may not refer'):
        torch.load(path, weights_only=True)


def test_loaders_that_ask_for_more_than_weights_get_weights_only(tmp_path):
    """As MMEngine's downloads do, and the fork's fallback."""
    from mmengine.runner import CheckpointLoader

    marker = tmp_path / 'ran'

    class Malice:
        def __reduce__(self):
            return os.mkdir, (str(marker),)

    torch.save(Malice(), tmp_path / 'malice.pth')

    def load_from_careless(filename, map_location=None):
        return torch.load(filename.split('://')[1], map_location, weights_only=False)

    CheckpointLoader.register_scheme('careless://', load_from_careless)
    try:
        compat.guard_mmengine_loaders()
        with pytest.raises(Exception, match='Weights only load failed'):
            CheckpointLoader.load_checkpoint(f'careless://{tmp_path / "malice.pth"}')
    finally:
        CheckpointLoader._schemes.pop('careless://')
    assert not marker.exists()


@pytest.mark.parametrize('before', [None, '0'])
def test_switch_of_torch_is_put_back(before, monkeypatch):
    monkeypatch.delenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', raising=False)
    if before is not None:
        monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', before)
    with pytest.raises(ZeroDivisionError), compat.forced_weights_only():
        assert os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD'] == '1'
        raise ZeroDivisionError
    assert os.environ.get('TORCH_FORCE_WEIGHTS_ONLY_LOAD') == before
