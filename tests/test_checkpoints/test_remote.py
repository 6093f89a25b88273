"""Some tensors of a large checkpoint on a server, without the rest."""

import os
from collections import OrderedDict

import pytest
import reference
import torch
from faults import Call
from mmengine.runner import CheckpointLoader

from mmovsam.checkpoints import load_checkpoint_file
from mmovsam.checkpoints.remote import fetch_part, read_part
from mmovsam.downloads import DownloadError

PROMPTS = 'prompt_encoder.'
ONE = torch.ones(1)


@pytest.fixture
def publish(server, tmp_path):
    """`publish(content)`: its address on the server."""

    def save(content, name='sam.pth', **settings):
        file = tmp_path / name
        torch.save(content, file, **settings)
        server.files[f'/{name}'] = file.read_bytes()
        return f'{server.url}/{name}'

    return save


@pytest.fixture(scope='module')
def sam():
    """SAM's file: its names in their order, and an image encoder that is large beside the rest."""
    tensors = OrderedDict(reference.weights('sam_tiny'))
    tensors['image_encoder.blocks.0.mlp.lin1.weight'] = torch.randn(2000, 2000)
    first = {name: value for name, value in tensors.items() if name.startswith('image_encoder.')}
    return OrderedDict({**first, **tensors})


def test_a_part_is_read_and_little_else_is_fetched_once(sam, publish, server):
    address = f'{publish(sam)}#{PROMPTS}'
    found = load_checkpoint_file(address)
    wanted = {name: value for name, value in sam.items() if name.startswith(PROMPTS)}
    assert found.keys() == wanted.keys() and len(wanted) > 10
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    size = len(server.files['/sam.pth'])
    assert server.log.sent('/sam.pth') < size / 50 < 2**20
    assert size > 16_000_000
    before = len(server.log.requests)
    by_mmengine = CheckpointLoader.load_checkpoint(address, map_location='cpu')
    assert by_mmengine.keys() == wanted.keys() and len(server.log.requests) == before


def test_kinds_of_tensors_come_as_they_are(publish):
    storage = torch.arange(20.0)
    content = dict(
        half=torch.ones(2, 3).half(),
        brain=torch.ones(3, dtype=torch.bfloat16),
        count=torch.tensor(7),
        turned=torch.arange(6.0).view(2, 3).T,
        view=storage[4:9],
        empty=torch.zeros(0, 4),
        parameter=torch.nn.Parameter(torch.ones(2)),
    )
    tensors = read_part(publish({'state_dict': content, 'meta': {}}), '')
    for name, value in content.items():
        assert tensors[name].dtype == value.dtype and torch.equal(tensors[name], value.detach())


def test_file_is_fetched_whole_where_it_has_to_be(sam, publish, server):
    address = publish(sam)
    assert fetch_part(f'{address}#').read_bytes() == server.files['/sam.pth']
    server.ranges = False
    assert set(load_checkpoint_file(f'{address}#{PROMPTS}')) == set(sam)
    server.ranges = True
    address = publish(dict(sam), 'old.pth', _use_new_zipfile_serialization=False)
    assert set(load_checkpoint_file(f'{address}#{PROMPTS}')) == set(sam)


@pytest.mark.parametrize(
    'content', [{'a.b': Call(os.mkdir, 'run')}, [1, 2], {'a.b': 3}, {'c': ONE}]
)
def test_what_is_no_list_of_tensors_is_refused_and_not_run(content, publish, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match='no tensor'):
        read_part(publish(content), 'a.')
    assert not (tmp_path / 'run').exists()


def test_damaged_record_is_found(sam, publish, server):
    address = publish(sam)
    content = bytearray(server.files['/sam.pth'])
    at = bytes(content).index(sam[f'{PROMPTS}no_mask_embed.weight'].numpy().tobytes())
    content[at] ^= 255
    server.files['/sam.pth'] = bytes(content)
    with pytest.raises(DownloadError, match='CRC'):
        fetch_part(f'{address}#{PROMPTS}')
