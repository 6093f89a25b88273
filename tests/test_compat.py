"""Each repair is tested with its real fault."""

import gc
import os
import subprocess
import sys
from collections import OrderedDict

import numpy as np
import pytest
import torch
from faults import Call
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader, load_checkpoint
from mmengine.runner.checkpoint import load_from_local
from noisy_training import make_runner

from mmovsam.checkpoints import load_checkpoint_file, safe_loading

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


def run(code):
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_torchvision_without_operators_fails_alone_and_imports_after_mmovsam():
    code, output = run(
        OPERATORS_DO_NOT_LOAD + 'try: import torchvision\n'
        'except RuntimeError as error: assert "torchvision::nms does not exist" in str(error)\n'
        'else: raise SystemExit("no fault")\n'
        'import sys\n'
        'for name in list(sys.modules):\n'
        '    if name.startswith("torchvision"): del sys.modules[name]\n'
        'import mmovsam, torchvision, open_clip\n'
        'from mmengine.utils.dl_utils import collect_env\nprint(collect_env()["TorchVision"])\n'
        'allowed = torch.serialization.get_safe_globals()  # nothing is allowed by importing\n'
        'assert all(each.__module__.startswith("torch.") for each in allowed), allowed'
    )
    assert code == 0, output


def test_torchvision_with_operators_is_left_alone():
    code, output = run(
        'import torch\n'
        'own = torch.library.Library("torchvision", "DEF")\n'
        'for name in ("nms", "qnms"):\n'
        '    own.define(name + "(Tensor d, Tensor s, float t) -> Tensor")\n'
        'own.impl("nms", lambda d, s, t: torch.tensor([7]), "CPU")\n'
        'from mmovsam.compat import fix_torchvision\n'
        'assert not fix_torchvision()\n'
        'box = torch.zeros(1, 4)\n'
        'assert torch.ops.torchvision.nms(box, box[:, 0], 0.5).item() == 7\n'
    )
    assert code == 0, output


def test_training_resumes_from_the_state_of_mmengine(tmp_path):
    gc.collect()  # with runners of earlier tests, which keep our loaders where loading failed
    settings = dict(default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)))
    make_runner(tmp_path, train_cfg=dict(by_epoch=True, max_epochs=1), **settings).train()
    with pytest.raises(Exception, match='Weights only load failed'):
        torch.load(tmp_path / 'epoch_1.pth', weights_only=True)
    runner = make_runner(
        tmp_path, resume=True, train_cfg=dict(by_epoch=True, max_epochs=2), **settings
    )
    runner.train()
    assert CheckpointLoader._schemes[''] is load_from_local
    assert runner.epoch == 2
    assert len(runner.message_hub.get_scalar('train/loss').data[0]) == 8


def with_pointer(address=8):
    values = OrderedDict(a=1)
    values.__array_interface__ = dict(data=(address, True), shape=(1,), typestr='<f8', version=3)
    return values


def history_of(**state):
    history = HistoryBuffer([1.0], [1])
    history.__dict__.update(state)
    return history


REFUSED = {
    'object from bytes': Call(np.ndarray, (1,), np.dtype('O'), b'A' * 8),
    'array from a buffer': Call(np.ndarray, (1,), np.dtype('f8'), b'A' * 8),
    'new array': Call(np.ndarray.__new__, np.ndarray, (1,)),
    'dtype of objects': np.dtype('O'),
    'array of objects': np.array([None]),
    'array of text': np.array(['a']),
    'array of dates': np.array(['2020-01-01'], 'M8[D]'),
    'array of records': np.zeros(1, [('a', 'f8')]),
    'number of objects': Call(np._core.multiarray.scalar, np.dtype('O'), b'A' * 8),
    'number cut short': Call(np._core.multiarray.scalar, np.dtype('f8'), b'A' * 4),
    'bytes of a length': Call(bytes, 10**9),
    'attribute': Call(getattr, torch.Tensor, 'backward'),
    'history of a pointer': Call(HistoryBuffer, with_pointer(), with_pointer()),
    'history that holds a pointer': history_of(_log_history=with_pointer()),
    'history of other statistics': history_of(_log_history=None),
}


@pytest.fixture
def careless_loader():
    def load_from_careless(filename, map_location=None):
        return torch.load(filename.split('://')[1], map_location, weights_only=False)

    CheckpointLoader.register_scheme('careless://', load_from_careless)
    with safe_loading():
        yield lambda path: CheckpointLoader.load_checkpoint(f'careless://{path}')
    CheckpointLoader._schemes.pop('careless://')


@pytest.mark.parametrize('legacy', [False, True])
@pytest.mark.parametrize('name', REFUSED)
def test_what_could_reach_memory_is_refused_by_every_loader(
    name, legacy, tmp_path, careless_loader
):
    path = tmp_path / 'reach.pth'
    content = {'state_dict': {}, 'x': REFUSED[name]}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(ValueError, match=r'reach\.pth holds more .* refused') as caught:
        load_checkpoint_file(path)
    assert 'may not refer to' in str(caught.value) or 'it asks for' in str(caught.value)
    with pytest.raises(ValueError, match='refused'):
        load_checkpoint(torch.nn.Linear(1, 1), str(path))
    with pytest.raises(Exception, match='may not refer|not an allowed'):
        careless_loader(path)
    with pytest.raises(Exception, match='Weights only load failed'):
        torch.load(path, weights_only=True)  # of the whole process: as without this package
    assert 'TORCH_FORCE_WEIGHTS_ONLY_LOAD' not in os.environ


def test_a_file_changes_no_statistics_of_the_class(tmp_path, monkeypatch):
    before = dict(HistoryBuffer._statistics_methods)
    with monkeypatch.context() as patch:
        patch.setattr(HistoryBuffer, '_statistics_methods', {'mean': 'other', 'best': 'more'})
        torch.save({'x': HistoryBuffer([1.0, 1.0], [1, 1])}, tmp_path / 'a.pth')
    loaded = load_checkpoint_file(tmp_path / 'a.pth')['x']
    assert type(loaded) is HistoryBuffer and loaded.statistics('mean') == 1
    assert dict(HistoryBuffer._statistics_methods) == before


@pytest.mark.parametrize(
    'array',
    [
        np.float64(0.5),
        np.bool_(True),
        np.arange(6, dtype='>i2').reshape(2, 3),
        np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
        np.array(7, np.uint8),
        np.zeros((0, 4), np.float16),
        np.array([True, False]),
    ],
    ids=lambda array: f'{array.dtype}{array.shape}',
)
def test_arrays_and_numbers_in_checkpoints_come_back_and_are_saved_again(array, tmp_path):
    torch.save({'meta': {'x': array}}, tmp_path / 'a.pth')
    for name in 'ab':
        loaded = load_checkpoint_file(tmp_path / f'{name}.pth')['meta']['x']
        assert loaded.dtype == array.dtype.newbyteorder('=')  # numpy's own reading swaps bytes
        assert np.array_equal(loaded, array)
        torch.save({'meta': {'x': loaded}}, tmp_path / 'b.pth')
    plain = torch.load(tmp_path / 'b.pth', weights_only=False)['meta']['x']
    assert type(plain) is type(array)


def test_loaders_that_ask_for_more_than_weights_get_weights_only(tmp_path, careless_loader):
    """As MMEngine's downloads do, and the fork's fallback."""
    marker = tmp_path / 'ran'
    torch.save(Call(os.mkdir, str(marker)), tmp_path / 'malice.pth')
    with pytest.raises(Exception, match='Weights only load failed'):
        careless_loader(tmp_path / 'malice.pth')
    assert not marker.exists()
