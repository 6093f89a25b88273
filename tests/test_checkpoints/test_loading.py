import errno
import os
import pickle
import random

import pytest
import torch
from faults import Call
from hypothesis import given
from hypothesis import strategies as st
from mmengine.runner import CheckpointLoader
from mmengine.runner.checkpoint import _load_checkpoint
from torch.serialization import set_crc32_options

from mmovsam.checkpoints import (
    load_checkpoint_file,
    loading,
    safe_loading,
    save_safetensors,
    state_dict_of,
)

WEIGHTS = {'a.weight': torch.arange(6.0).reshape(2, 3), 'b': torch.tensor(1, dtype=torch.int64)}


def same(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


@pytest.mark.parametrize('map_location', ['cpu', None])
def test_weights_come_back_as_they_were_also_where_they_share_memory(tmp_path, map_location):
    path, weight = tmp_path / 'weights.safetensors', torch.randn(4, 4)
    tied = {**WEIGHTS, 'c': weight, 'd': weight, 'e': weight.t()}
    save_safetensors(tied, path, {'epoch': 3})
    checkpoint = load_checkpoint_file(path, map_location)
    assert same(state_dict_of(checkpoint), tied)
    assert checkpoint['meta'] == {'epoch': '3'}


@pytest.mark.parametrize('legacy', [False, True])  # the format before torch 1.6
def test_other_contents_are_read_as_they_are_but_for_a_config_that_resuming_would_execute(
    tmp_path, legacy
):
    path = tmp_path / 'a.pth'
    meta = {'config': 'import os', 'epoch': 1}
    for content, expected in (
        ({'state_dict': WEIGHTS, 'meta': meta}, WEIGHTS),
        ({'model': WEIGHTS, 'epoch': 2}, WEIGHTS),
        ({'state_dict': {f'module.{name}': each for name, each in WEIGHTS.items()}}, WEIGHTS),
        (torch.ones(3, 2, 4), None),
    ):
        torch.save(content, path, _use_new_zipfile_serialization=not legacy)
        checkpoint = load_checkpoint_file(path)
        if expected is None:
            assert checkpoint.shape == (3, 2, 4)
        else:
            assert same(state_dict_of(checkpoint), expected)
            assert 'config' not in checkpoint.get('meta', {})


@pytest.mark.filterwarnings('ignore:Detected pickle protocol')
@pytest.mark.parametrize('kind', ['zip', 'legacy', 'pickle'])
def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path, kind):
    path, marker = tmp_path / 'evil.pth', tmp_path / 'ran'
    checkpoint = {'state_dict': WEIGHTS, 'meta': Call(os.mkdir, str(marker))}
    if kind == 'pickle':
        path.write_bytes(pickle.dumps(Call(os.mkdir, str(marker))))
    else:
        torch.save(checkpoint, path, _use_new_zipfile_serialization=kind == 'zip')
    message = r'evil\.pth' if kind == 'pickle' else r'evil\.pth holds more than .* refused.*state_d'
    with pytest.raises(ValueError, match=message):
        load_checkpoint_file(path)
    with safe_loading(), pytest.raises(ValueError, match=message):
        _load_checkpoint(str(path))  # MMEngine's
    assert not marker.exists()


def test_mmengine_has_its_own_loaders_but_within_blocks_which_may_overlap(tmp_path):
    before = dict(CheckpointLoader._schemes)
    assert before[''].__module__ == before['https://'].__module__ == 'mmengine.runner.checkpoint'
    first, second = safe_loading(), safe_loading()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    loaders = CheckpointLoader._schemes
    assert all(loader.weights_only for loader in loaders.values()) and [*loaders] == [*before]
    second.__exit__(None, None, None)
    assert CheckpointLoader._schemes == before
    for name in ('tiny.safetensors', 'C:/x.safetensors', 'https://a/b.safetensors', 'tiny.pth'):
        loader = CheckpointLoader._get_checkpoint_loader(name)
        if name in ('tiny.safetensors', 'C:/x.safetensors'):  # what it does not know itself
            assert loader is loading.load_from_mmovsam
        else:
            assert loader.__module__.startswith('mmengine')


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
@pytest.mark.parametrize('keep', [0, 40, -20])
def test_truncated_files_are_named(tmp_path, suffix, keep):
    path = tmp_path / f'cut{suffix}'
    torch.save(WEIGHTS, path) if suffix == '.pth' else save_safetensors(WEIGHTS, path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=rf'cut\{suffix}.*(again|fetch)'):
        load_checkpoint_file(path)


def test_a_bit_that_flipped_in_a_pth_file_is_told(tmp_path):
    seed = random.SystemRandom().randrange(2**32)
    print(f'seed {seed}')
    tensors = dict(a=torch.rand(50, 40), b=torch.ones(3))
    torch.save(tensors, tmp_path / 'a.pth')
    data = bytearray((tmp_path / 'a.pth').read_bytes())
    assert load_checkpoint_file(tmp_path / 'a.pth')['a'].equal(tensors['a'])
    start = data.index(tensors['a'].numpy().tobytes())
    data[start + random.Random(seed).randrange(8000)] ^= 1 << random.Random(seed).randrange(8)
    (tmp_path / 'a.pth').write_bytes(data)
    with pytest.raises(ValueError, match="a.pth is no readable.*Bad CRC-32 for file 'a/data/0'"):
        load_checkpoint_file(tmp_path / 'a.pth')
    set_crc32_options(False)
    try:
        torch.save(tensors, tmp_path / 'b.pth')
    finally:
        set_crc32_options(True)
    assert load_checkpoint_file(tmp_path / 'b.pth')['a'].equal(tensors['a'])


def test_files_of_the_other_format_are_read_or_called_so(tmp_path):
    save_safetensors(WEIGHTS, tmp_path / 'a.safetensors')
    (tmp_path / 'a.safetensors').rename(tmp_path / 'a.pth')
    assert same(state_dict_of(load_checkpoint_file(tmp_path / 'a.pth')), WEIGHTS)
    torch.save(WEIGHTS, tmp_path / 'b.safetensors')
    with pytest.raises(ValueError, match=r'b\.safetensors is no safetensors file.*\.pth'):
        load_checkpoint_file(tmp_path / 'b.safetensors')


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 2\n', 'git lfs pull'),
        (b'Entry not found', "holds text, not tensors: 'Entry not found'"),
        (b'{"error": "rate limit exceeded, try again later"}', 'holds text, not tensors'),
        (b'\x1f\x8b' + bytes(50), 'gzip: unpack it'),
        (b'\n<!DOCTYPE html><html>Sign in</html>', 'again|fetch'),
        (b'\x89PNG\r\n\x1a\n' + bytes(99), 'is no (readable checkpoint|safetensors)'),
    ],
)
def test_what_came_in_place_of_weights_is_called_so(tmp_path, suffix, content, message):
    (tmp_path / f'a{suffix}').write_bytes(content)
    with pytest.raises(ValueError, match=rf'a\{suffix} .*({message})') as error:
        load_checkpoint_file(tmp_path / f'a{suffix}')
    assert 'weights_only' not in str(error.value)  # nobody is told to load unsafely


@given(st.binary(max_size=300))
@pytest.mark.filterwarnings('ignore:Detected pickle protocol')
def test_any_bytes_are_read_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.mktemp('bytes') / 'any.pth'
    path.write_bytes(content)
    try:
        load_checkpoint_file(path)
    except ValueError as error:
        assert 'any.pth' in str(error)


def test_shipped_weights_have_a_scheme(tmp_path, monkeypatch):
    monkeypatch.setattr(loading, 'WEIGHTS_DIR', tmp_path)
    save_safetensors(WEIGHTS, tmp_path / 'tiny.safetensors')
    assert same(_load_checkpoint('mmovsam://tiny.safetensors')['state_dict'], WEIGHTS)
    with pytest.raises(FileNotFoundError, match=r'This package ships: tiny\.safetensors'):
        load_checkpoint_file('mmovsam://none.safetensors')
    with pytest.raises(FileNotFoundError, match='outside'):
        load_checkpoint_file('mmovsam://../other.pth')


def test_missing_file_folder_and_what_holds_no_named_tensors_are_named(tmp_path):
    for name, message in (('none.pth', r'none\.pth does not exist'), ('', 'is a folder')):
        with pytest.raises(FileNotFoundError, match=message):
            load_checkpoint_file(tmp_path / name)
    sparse = dict(WEIGHTS, a=torch.eye(2).to_sparse())
    for wrong in ({'a': 1}, {}, torch.ones(2), [1], {**WEIGHTS, 3: torch.ones(2)}, sparse):
        with pytest.raises(ValueError, match='named tensors'):
            state_dict_of(wrong)


def test_failing_write_leaves_the_old_file(tmp_path):
    path = tmp_path / 'weights.safetensors'
    save_safetensors(WEIGHTS, path)
    with pytest.raises(Exception):  # noqa: B017  safetensors' own
        save_safetensors({'a': torch.ones(2).to_sparse()}, path)
    assert same(load_checkpoint_file(path)['state_dict'], WEIGHTS)
    assert os.listdir(tmp_path) == ['weights.safetensors']


@pytest.mark.parametrize('name', ['a.pth', 'a.safetensors'])
def test_disk_that_fails_is_no_broken_checkpoint(tmp_path, monkeypatch, name):
    def fail(*args, **kwargs):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    (tmp_path / name).write_bytes(b'checkpoint')
    monkeypatch.setattr('torch.load', fail)
    monkeypatch.setattr('safetensors.safe_open', fail)
    with pytest.raises(OSError, match=f'Input/output error.*{name}') as raised:
        load_checkpoint_file(tmp_path / name)
    assert 'broken' not in str(raised.value)
