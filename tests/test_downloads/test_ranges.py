"""A remote file, read in part."""

import io
import os
import random

import pytest

from mmovsam.downloads import open_remote


@pytest.fixture
def content(server):
    server.files['/big'] = os.urandom(1_000_000)
    return server.files['/big']


def test_reads_are_those_of_a_file_and_fetch_what_is_read_once(server, content):
    rng = random.Random(0)
    file, same = open_remote(f'{server.url}/big'), io.BytesIO(content)
    for _ in range(3):
        file.seek(500_000)
        assert file.read(1000) == content[500_000:501_000]
    assert server.log.sent('/big') == file.raw.received + 1 == 2**15 + 1
    assert len(server.log.requests) == 2
    assert open_remote(f'{server.url}/big').read(900_000) == content[:900_000]
    assert len(server.log.requests) < 6  # what is read at once comes with few requests
    for _ in range(30):
        start, count = rng.randrange(len(content)), rng.choice([0, 1, 100, 100_000])
        assert file.seek(start) == same.seek(start)
        assert file.read(count) == same.read(count)
        assert file.tell() == same.tell()
    assert file.seek(-10, io.SEEK_END) == same.seek(-10, io.SEEK_END)
    assert file.read() == same.read()
    with pytest.raises(OSError, match='before the start'):
        file.seek(-1)


def test_a_file_that_is_replaced_or_served_as_a_whole_is_told(server, content):
    file = open_remote(f'{server.url}/big')
    server.files['/big'] = os.urandom(1_000_000)
    with pytest.raises(OSError, match='replaced by another file'):
        file.read(10)
    server.ranges = False
    with pytest.raises(io.UnsupportedOperation, match='as a whole only'):
        open_remote(f'{server.url}/big')
