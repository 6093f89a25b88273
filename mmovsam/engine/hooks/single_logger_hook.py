"""Log files that one process writes."""

from __future__ import annotations

from mmengine.dist import master_only
from mmengine.hooks import LoggerHook
from mmengine.registry import HOOKS
from mmengine.runner import Runner


@HOOKS.register_module()
class SingleLoggerHook(LoggerHook):
    """MMEngine's `LoggerHook`, but the metrics of a test are written by the main process alone.

    MMEngine has every process write the same JSON file at once, which now and then ends as a mix of
    two. Arguments are those of `LoggerHook`.
    """

    @master_only
    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Write the metrics of a test.

        Args:
            runner: The runner of the test.
            metrics: Of the test.
        """
        super().after_test_epoch(runner, metrics)
