"""One file of a store: what it keeps, and what it says when it is damaged."""

import contextlib
import sqlite3
from pathlib import Path

import pytest

from mmovsam.teacher_features.shard import DamagedFeatureError, Record, Shard

DATA = Path(__file__).resolve().parents[1] / 'data' / 'fuzz'
RECORDS = [Record(i, 10 * i, bytes([i % 256]) * 3000 + i.to_bytes(8, 'big')) for i in range(1, 60)]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / 'a folder' / 'a # shard?.sqlite'
    Shard.create(path, RECORDS)
    return path


@pytest.fixture
def opened():
    with contextlib.ExitStack() as stack:

        def open_shard(*args, **kwargs):
            return stack.enter_context(Shard(*args, **kwargs))

        yield open_shard


def test_records_come_back_and_replace_those_of_the_same_image_and_text_is_no_number(path, opened):
    shard = opened(path, writable=True)
    assert sorted(shard.ids()) == [record.image_id for record in RECORDS]
    assert [shard.read(record.image_id) for record in RECORDS] == RECORDS
    assert shard.read(1000) is None
    shard.write([Record('1', 5, b'text'), Record(2, 7, b'new')])
    assert shard.read('1').data == b'text' and shard.read(1) == RECORDS[0]
    assert shard.read('2') is None and shard.read(2) == Record(2, 7, b'new')
    assert shard.ids().count(2) == 1


def test_a_write_or_a_file_that_fails_leaves_nothing(path, opened, tmp_path):
    def records():
        yield Record(1000, 1, b'half')
        raise RuntimeError('stopped here')

    shard = opened(path, writable=True)
    with pytest.raises(RuntimeError):
        shard.write(records())
    assert shard.read(1000) is None
    with pytest.raises(RuntimeError):
        Shard.create(tmp_path / 'new' / 'new.sqlite', records())
    assert list((tmp_path / 'new').iterdir()) == []


def test_a_changed_bit_of_any_field_is_damage(path, opened):
    connection = sqlite3.connect(path)
    connection.execute("UPDATE features SET data = substr(data, 1, 3007) || x'ff' WHERE id = 1")
    connection.execute('UPDATE features SET image_checksum = 21 WHERE id = 2')
    connection.execute('UPDATE features SET id = 1003 WHERE id = 3')
    connection.execute('UPDATE features SET data = substr(data, 1, 3007) WHERE id = 4')
    connection.execute("UPDATE features SET data = 'text' WHERE id = 5")
    connection.commit()
    connection.close()
    shard = opened(path)
    for image_id in (1, 2, 1003, 4, 5):
        with pytest.raises(DamagedFeatureError, match=f'image {image_id} .*--damaged recompute'):
            shard.read(image_id)
    assert shard.read(6) == RECORDS[5]


@pytest.mark.parametrize('part', [0, 0.5, None])
def test_a_truncated_file_or_one_of_another_kind_is_damage(path, opened, part):
    content = path.read_bytes()
    path.write_bytes(b'no database' * 9999 if part is None else content[: int(part * len(content))])
    with pytest.raises(DamagedFeatureError, match='shard'):
        opened(path).ids()
    with pytest.raises(DamagedFeatureError, match='image 59'):
        opened(path).read(59)


def test_a_disk_that_is_full_or_another_process_that_writes_is_no_damage(path, opened):
    shard = opened(path, writable=True)
    pages = shard._connection.execute('PRAGMA page_count').fetchone()[0]
    shard._connection.execute(f'PRAGMA max_page_count = {pages}')
    with pytest.raises(OSError, match='full'):
        shard.write([Record(1000, 1, bytes(2**20))])
    assert sorted(shard.ids()) == [record.image_id for record in RECORDS]
    other = sqlite3.connect(path)
    other.execute('BEGIN EXCLUSIVE')
    shard._connection.execute('PRAGMA busy_timeout = 1')
    with pytest.raises(OSError, match='locked'):
        shard.read(1)
    other.close()
    assert shard.read(1) == RECORDS[0]


def test_a_file_that_asks_for_more_memory_than_there_is_is_named(opened):
    shard = opened(DATA / 'huge_record.sqlite')
    with pytest.raises((DamagedFeatureError, OSError), match='huge_record.sqlite'):
        shard.ids()
