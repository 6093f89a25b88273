"""Work that several processes share, outside of MMEngine's Runner."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
from mmengine.dist import broadcast_object_list, is_main_process

_PATIENCE = timedelta(days=7)  # for others to end their share


def join_processes() -> None:
    """Make the processes that `torchrun` started a group, on machines with GPUs or without.

    Each gets the GPU of its number on its machine. Without `torchrun` nothing happens.
    """
    if not torch.distributed.is_torchelastic_launched():
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ['LOCAL_RANK']))
    start_gloo(timeout=_PATIENCE)


def start_gloo(**settings) -> None:
    """Make a process group that needs no GPU, and end it before the interpreter ends.

    Args:
        settings: Of `torch.distributed.init_process_group`.
    """
    torch.distributed.init_process_group('gloo', **settings)
    # its threads would still run while the interpreter goes, and now and then abort it
    atexit.register(torch.distributed.destroy_process_group)


def by_main_process(function: Callable[[], Any]) -> Any:
    """What a function returns in the main process, or its error, in all processes.

    Args:
        function: Called in the main process only; what it returns can be pickled.
    """
    outcome: list = [None, None]
    if is_main_process():
        try:
            outcome[0] = function()
        except Exception as error:
            outcome[1] = error
    broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]
