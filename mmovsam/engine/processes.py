"""Groups of processes."""

from __future__ import annotations

import atexit
import contextlib
import gc
import multiprocessing
import os
import sys
import traceback
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import torch
from filelock import FileLock, Timeout
from mmengine.dist import broadcast_object_list, get_dist_info, get_world_size, is_main_process
from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import nn


def unwrap(model: nn.Module) -> nn.Module:
    """The model itself, without wrappers for several processes or test-time augmentation."""
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model


def join_processes() -> None:
    """Create the process group of `torchrun`, with or without GPUs; without `torchrun` do nothing.

    Each process gets the GPU of its local rank.
    """
    if not torch.distributed.is_torchelastic_launched():
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ['LOCAL_RANK']))
    start_gloo(timeout=timedelta(days=7))  # others may take long


def start_gloo(**settings) -> None:
    """Create a process group that needs no GPU, and destroy it before the interpreter ends."""
    torch.distributed.init_process_group('gloo', **settings)
    atexit.register(_end_group)


def _end_group() -> None:
    """Destroy the group; its threads could abort a process that is ending."""
    torch.distributed.destroy_process_group()
    gc.collect()  # a model in a cycle with its runner still holds the group


def by_main_process(function: Callable[[], Any]) -> Any:
    """Call a function in the main process and return its result, or raise its error, in all."""
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


class SharedCounter:
    """A counter shared by all processes of a group, if there is one.

    All processes create their counters in the same order.
    """

    def __init__(self) -> None:
        name, store = by_main_process(lambda: uuid.uuid4().hex), torch.distributed.HashStore()
        if get_world_size() > 1:
            store = torch.distributed.distributed_c10d._get_default_store()
        self._store = torch.distributed.PrefixStore(name, store)

    def add(self, amount: int) -> int:
        """The number after the addition."""
        return self._store.add('value', amount)


@contextlib.contextmanager
def only_run(lock_file: Path) -> Iterator[None]:
    """Lock a folder, which is created, against other runs; the main process locks it for its group.

    Raises:
        ValueError: Another run has the lock.
    """
    folder, lock = lock_file.parent, FileLock(lock_file)

    def acquire() -> None:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            raise ValueError(
                f'Another run is filling {folder}: wait for it, or write somewhere else.'
            ) from None

    by_main_process(acquire)
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def ending_at_once() -> Iterator[None]:
    """End this process at once if it fails in a group.

    When another process is lost, communication raises a `RuntimeError`, and PyTorch would wait for
    the lost process again while the interpreter ends.
    """
    try:
        yield
    except RuntimeError:
        if get_world_size() == 1:
            raise
        end_at_once(traceback.format_exc())


def end_at_once(reason: str) -> NoReturn:
    """End this process of a group and its data loading workers."""
    rank, count = get_dist_info()
    print(
        f'{reason}\nerror: process {rank} of {count} cannot go on. If it is another one that was '
        'lost, the same command with --resume goes on from the last checkpoint, with fewer '
        'processes and machines too.',
        file=sys.stderr,
        flush=True,
    )
    try:
        for child in multiprocessing.active_children():
            child.kill()  # a worker that waits for its batch to be taken would wait for ever
    finally:  # PyTorch raises an error when workers end
        os._exit(1)
