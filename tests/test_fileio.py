"""Files that are written whole or not at all, wherever they lie."""

import os
import stat

import pytest

from mmovsam.fileio import write_atomic


def test_a_link_and_who_may_read_a_file_stay_and_what_it_leads_to_is_replaced(tmp_path):
    (tmp_path / 'disk').mkdir()
    for name in ('a.json', 'missing/b.json'):  # the latter leads nowhere yet
        target, link = tmp_path / 'disk' / name, tmp_path / os.path.basename(name)
        os.symlink(target, link)
        write_atomic(link, 'old')
        write_atomic(link, 'new')
        assert link.is_symlink() and target.read_text() == 'new'
        assert os.listdir(target.parent) == [target.name] or name == 'a.json'
    target.chmod(0o600)
    write_atomic(target, 'newer')
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_devices_and_pipes_are_not_replaced(tmp_path):
    os.mkfifo(tmp_path / 'pipe')
    with pytest.raises(OSError, match='It is a device or a pipe, expected a file: .*pipe'):
        write_atomic(tmp_path / 'pipe', 'new')
    assert stat.S_ISFIFO((tmp_path / 'pipe').stat().st_mode)
    assert os.listdir(tmp_path) == ['pipe']


@pytest.mark.parametrize('name', ['n' * 255, 'é' * 125 + '.json'])
def test_names_may_be_as_long_as_a_system_takes(tmp_path, name):
    write_atomic(tmp_path / name, 'new')
    assert os.listdir(tmp_path) == [name]
    with pytest.raises(OSError, match='File name too long') as error:
        write_atomic(tmp_path / f'{name}{name}', 'new')
    assert error.value.filename == str(tmp_path / f'{name}{name}')
