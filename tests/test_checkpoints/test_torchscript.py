"""TorchScript archives as data."""

import os
import pickle
import zipfile

import pytest
import torch
from faults import Call
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mmovsam.checkpoints import load_checkpoint_file, state_dict_of
from mmovsam.checkpoints.torchscript import is_torchscript, read_torchscript


class Attention(nn.Module):
    """Parameters of several types and layouts beside attributes of other kinds."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4).half())
        self.part = nn.Parameter(torch.randn(8, 8)[:, 2:6])
        self.register_buffer('count', torch.tensor(3))
        self.register_buffer('empty', torch.ones(0, 2))
        self.heads, self.scale, self.names, self.sizes = 2, 0.5, ['a', 'b'], [1, 2]

    def forward(self, x):
        return x @ self.weight.float() @ self.part.t()[:, :4] + self.count


class Program(nn.Module):
    def __init__(self):
        super().__init__()
        self.visual = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), Attention())
        self.linear = nn.Linear(4, 4)
        self.tied = self.linear

    def forward(self, x):
        return self.tied(self.linear(self.visual(x)))


def saved(path, kind='script'):
    torch.manual_seed(0)
    program = Program().eval()
    if kind == 'script':
        archive = torch.jit.script(program)
    else:
        archive = torch.jit.trace(program, torch.ones(1, 3, 4, 4))
    torch.jit.save(archive, str(path))
    return program.state_dict()


def rewritten(source, path, pickled):
    """A copy of an archive with another list of modules."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, 'w') as new:
        for record in old.infolist():
            change = record.filename.endswith('/data.pkl')
            new.writestr(record, pickled if change else old.read(record))
    return path


@pytest.fixture(scope='module')
def archive(tmp_path_factory):
    path = tmp_path_factory.mktemp('archive') / 'clip.pt'
    saved(path)
    return path


def pickled_list(path):
    with zipfile.ZipFile(path) as archive:
        return archive.read(f'{path.stem}/data.pkl')


@pytest.mark.parametrize('kind', ['script', 'trace'])
def test_tensors_are_those_of_the_program(tmp_path, kind):
    expected = saved(tmp_path / 'clip.pt', kind)
    found = state_dict_of(load_checkpoint_file(tmp_path / 'clip.pt'))
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor)
    moved = load_checkpoint_file(tmp_path / 'clip.pt', map_location='meta')['state_dict']
    assert {tensor.device.type for tensor in moved.values()} == {'meta'}

    data = bytearray((tmp_path / 'clip.pt').read_bytes())  # in which a bit flips
    data[data.index(next(iter(expected.values())).numpy().tobytes())] ^= 1
    (tmp_path / 'b.pt').write_bytes(data)
    with pytest.raises(ValueError, match='b.pt is a TorchScript archive.*Bad CRC-32'):
        load_checkpoint_file(tmp_path / 'b.pt')
    torch.save({'a': torch.ones(2)}, tmp_path / 'a.pth')
    (tmp_path / 'b.pt').write_bytes(b'PK\x03\x04')
    assert not is_torchscript(tmp_path / 'a.pth') and not is_torchscript(tmp_path / 'b.pt')


@pytest.mark.parametrize('kind', ['code', 'code of today', 'beyond its record', 'inside itself'])
def test_lists_of_anything_else_are_refused_and_not_run(tmp_path, archive, kind):
    pickled, four_by_four = pickled_list(archive), b'K\x04K\x04t'
    assert four_by_four in pickled
    inside_itself = b'\x80\x02c__torch__\nM\n)\x81q\x00}(X\x01\x00\x00\x00ah\x00ub.'
    changed = {
        'code': pickle.dumps(Call(os.mkdir, str(tmp_path / 'ran')), 2),
        'code of today': pickle.dumps(Call(os.mkdir, str(tmp_path / 'ran')), 4),
        'beyond its record': pickled.replace(four_by_four, b'K\x04K\x7ft'),
        'inside itself': inside_itself,
    }[kind]
    path = rewritten(archive, tmp_path / 'evil.pt', changed)
    with pytest.raises(ValueError, match=r'evil\.pt .* Nothing in it was run'):
        load_checkpoint_file(path)
    assert not (tmp_path / 'ran').exists()


@given(st.data())
def test_any_list_of_modules_is_read_or_refused(tmp_path_factory, archive, data):
    pickled = bytearray(pickled_list(archive))
    for _ in range(data.draw(st.integers(1, 3))):
        pickled[data.draw(st.integers(0, len(pickled) - 1))] = data.draw(st.integers(0, 255))
    path = rewritten(archive, tmp_path_factory.mktemp('any') / 'any.pt', bytes(pickled))
    try:
        tensors = read_torchscript(path)
    except ValueError as error:
        assert 'any.pt' in str(error)
    else:
        assert all(isinstance(tensor, torch.Tensor) for tensor in tensors.values())
