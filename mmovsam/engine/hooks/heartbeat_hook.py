"""Heartbeats between the processes of a training."""

from __future__ import annotations

import atexit
import threading
from datetime import timedelta

import torch
from mmengine.dist import all_gather_object, is_distributed
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..processes import end_at_once


@HOOKS.register_module()
class HeartbeatHook(Hook):
    """End this process when another one has been silent for `seconds`.

    A machine that loses power closes no connection, so others would wait for it. A thread of each
    process synchronizes with those of the others every `interval` seconds.
    """

    def __init__(self, seconds: float = 40, interval: float = 5) -> None:
        if min(seconds, interval) <= 0:
            raise ValueError(f'Times must be positive, not {seconds} and {interval}.')
        self.seconds = seconds
        self.interval = interval
        self._thread: threading.Thread | None = None
        self._done = threading.Event()
        self._leaving = threading.Event()  # this process ends regularly

    def before_train(self, runner: Runner) -> None:
        if not is_distributed():
            return
        group = self._connect(runner)
        if group is None:
            return
        atexit.register(self._leaving.set)
        self._done.clear()
        self._thread = threading.Thread(target=self._beat, args=[group], daemon=True)
        self._thread.start()

    def _connect(self, runner: Runner) -> torch.distributed.ProcessGroup | None:
        """A gloo group of all processes, or None if some of them cannot connect."""
        group, error = None, ''
        try:
            timeout = timedelta(seconds=self.seconds)
            group = torch.distributed.new_group(backend='gloo', timeout=timeout)
        except RuntimeError as failure:
            error = str(failure)
        errors = [text for text in all_gather_object(error) if text]
        if not errors:
            return group
        runner.logger.warning(
            f'Processes give each other no signs of life, as they cannot connect by gloo '
            f'({errors[0]}). The others wait for a silent one as long as PyTorch lets them. The '
            'variable GLOO_SOCKET_IFNAME says which network interface to use.'
        )
        return None

    def after_train(self, runner: Runner) -> None:
        if self._thread is not None:
            self._done.set()
            self._thread.join()

    def _beat(self, group: torch.distributed.ProcessGroup) -> None:
        training = torch.ones(1)
        try:
            while training.item():
                self._done.wait(self.interval)
                training.fill_(not self._done.is_set())
                torch.distributed.all_reduce(training, torch.distributed.ReduceOp.MAX, group)
        except RuntimeError as error:
            if not self._leaving.is_set():
                end_at_once(f'No sign of life of another process: {error}')
