"""Work that several processes share."""

import pytest
from mmengine.dist import get_dist_info
from tiny_dump import in_two_processes

from mmovsam.engine.processes import by_main_process, join_processes


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
