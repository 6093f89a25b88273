"""A short wait for the other processes while nothing but training goes on."""

from __future__ import annotations

from datetime import timedelta

from mmengine.dist import is_distributed
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch.distributed.distributed_c10d import _set_pg_timeout


@HOOKS.register_module()
class StepTimeoutHook(Hook):
    """Let a process that waits in vain for another one end with an error soon.

    Where a machine is lost without a word, the others wait for it in their next step, by PyTorch's
    defaults for 10 minutes on GPUs and 30 on CPUs. A step may wait longer where one process had
    more to do than the others: the first of an epoch, and one after validation or a checkpoint.

    Args:
        seconds: How long a process waits for the others in a step.
        otherwise: How long it waits in these steps, and in validation.

    Raises:
        ValueError: A time is not positive.
    """

    def __init__(self, seconds: float = 45, otherwise: float = 1800) -> None:
        if min(seconds, otherwise) <= 0:
            raise ValueError(f'Waiting times must be positive, not {seconds} and {otherwise}.')
        self.seconds = seconds
        self.otherwise = otherwise
        self.checkpoint = None  # the last one that is known
        self.patient = True  # in the next step

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        """Choose how long a process waits in this step."""
        checkpoint = runner.message_hub.get_info('last_ckpt')
        patient = self.patient or batch_idx == 0 or checkpoint != self.checkpoint
        self._wait(self.otherwise if patient else self.seconds)
        self.checkpoint, self.patient = checkpoint, False

    def before_val(self, runner: Runner) -> None:
        """Wait longer."""
        self._wait(self.otherwise)
        self.patient = True

    def after_train(self, runner: Runner) -> None:
        """Wait longer."""
        self._wait(self.otherwise)

    @staticmethod
    def _wait(seconds: float) -> None:
        if is_distributed():
            _set_pg_timeout(timedelta(seconds=seconds))
