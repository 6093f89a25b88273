"""Work that several processes share, and what becomes of it when one is lost."""

import os
import sys
import time
from types import SimpleNamespace

import pytest
import torch
from mmengine.dist import get_dist_info
from tiny_dump import in_two_processes

from mmovsam.engine.hooks import HeartbeatHook
from mmovsam.engine.processes import by_main_process, ending_at_once, join_processes


def test_without_torchrun_there_is_one_process(monkeypatch):
    monkeypatch.delenv('TORCHELASTIC_RUN_ID', raising=False)
    join_processes()
    assert get_dist_info() == (0, 1)
    assert by_main_process(lambda: 5) == 5
    with pytest.raises(RuntimeError), ending_at_once():
        raise RuntimeError


def test_all_processes_get_what_the_main_one_made_and_its_error():
    def fail():
        raise ValueError('no room')

    def check(rank):
        assert get_dist_info() == (rank, 2)
        assert by_main_process(lambda: [rank, 'made']) == [0, 'made']
        with pytest.raises(ValueError, match='no room'):
            by_main_process(fail)

    assert in_two_processes(check) == [0, 0]


def test_process_ends_when_another_one_is_lost_or_silent(tmp_path):
    def meet(rank):
        sys.stderr = open(tmp_path / f'lost{rank}', 'w', buffering=1)  # noqa: SIM115
        if rank:
            os._exit(3)
        with ending_at_once():
            torch.distributed.all_reduce(torch.ones(1))

    def beat(rank):
        sys.stderr = open(tmp_path / f'silent{rank}', 'w', buffering=1)  # noqa: SIM115
        HeartbeatHook(seconds=1, interval=100 if rank else 0.1).before_train(None)
        time.sleep(2 if rank else 60)

    assert in_two_processes(meet) == [1 << 8, 3 << 8]
    assert in_two_processes(beat) == [1 << 8, 0]
    assert 'No sign of life' in (tmp_path / 'silent0').read_text()
    for name in ('lost0', 'silent0'):
        assert '--resume goes on from the last checkpoint' in (tmp_path / name).read_text()


def test_training_goes_on_without_signs_of_life_where_gloo_cannot_connect(monkeypatch):
    def fail(**_):
        raise RuntimeError('connectFullMesh failed')

    monkeypatch.setattr('mmovsam.engine.hooks.heartbeat_hook.is_distributed', lambda: True)
    monkeypatch.setattr(torch.distributed, 'new_group', fail)
    warnings = []
    hook = HeartbeatHook()
    hook.before_train(SimpleNamespace(logger=SimpleNamespace(warning=warnings.append)))
    hook.after_train(None)
    (warning,) = warnings
    assert 'connectFullMesh failed' in warning and 'GLOO_SOCKET_IFNAME' in warning
    with pytest.raises(ValueError, match='must be positive, not 0 and'):
        HeartbeatHook(seconds=0)
