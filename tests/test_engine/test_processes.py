"""Work that several processes share."""

import os
import socket

import pytest
from mmengine.dist import get_dist_info
from tiny_dump import in_child

from mmovsam.engine.processes import by_main_process, join_processes


def in_two_processes(function):
    """Exit states of a function that two processes of a group have run."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]

    def run(rank):
        os.environ.update(
            TORCHELASTIC_RUN_ID='test', MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port),
            RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE='2',
        )  # fmt: skip
        join_processes()
        function(rank)

    children = [in_child(lambda rank=rank: run(rank)) for rank in (0, 1)]
    return [os.waitpid(child, 0)[1] for child in children]


def test_without_torchrun_there_is_one_process(monkeypatch):
    monkeypatch.delenv('TORCHELASTIC_RUN_ID', raising=False)
    join_processes()
    assert get_dist_info() == (0, 1)
    assert by_main_process(lambda: 5) == 5


def test_all_processes_get_what_the_main_one_made():
    def check(rank):
        assert get_dist_info() == (rank, 2)
        assert by_main_process(lambda: [rank, 'made']) == [0, 'made']

    assert in_two_processes(check) == [0, 0]


def test_all_processes_get_the_error_of_the_main_one():
    def fail():
        raise ValueError('no room')

    def check(rank):
        with pytest.raises(ValueError, match='no room'):
            by_main_process(fail)

    assert in_two_processes(check) == [0, 0]
