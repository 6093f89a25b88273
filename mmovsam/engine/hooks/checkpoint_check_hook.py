"""Reads checkpoints as data and refuses weights that are not of the model."""

from contextlib import ExitStack

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import BaseLoop

from ...checkpoints import check_fit, load_initial_weights, names_all_weights, safe_loading
from ..unwrap import unwrap


@HOOKS.register_module()
class CheckpointCheckHook(Hook):
    """Stop when a checkpoint does not fit the model; MMEngine would only log it and go on.

    Tensors of equal name and different shape are a fault, and a checkpoint without a common name.
    Names that only the model has are one in a test, where these weights would be random. A test
    without a checkpoint begins with the files that `init_cfg` names, if each part of the model has
    one; MMEngine would read them for a training only.

    What the runner loads before it trains or tests it reads as data, see `safe_loading`; so do
    MMDetection's own tools with a config that has this hook.
    """

    def __init__(self) -> None:
        self._loading = ExitStack()

    def before_run(self, runner) -> None:
        """MMEngine loads what the config names between this and the first iteration."""
        self._loading.enter_context(safe_loading())

    def after_load_checkpoint(self, runner, checkpoint) -> None:
        """Compare names and shapes before they are copied into the model.

        Args:
            runner (Runner): The runner that loads or resumes.
            checkpoint (dict): What was read.

        Raises:
            ValueError: If shapes differ, nothing matches, or a test lacks weights.
        """
        check_fit(unwrap(runner.model), checkpoint, whole=not _trains(runner))

    def before_train(self, runner) -> None:
        """Everything has been loaded: MMEngine has its own loaders again."""
        self._loading.close()

    def before_val(self, runner) -> None:
        """Everything has been loaded, as in `before_train`."""
        self._loading.close()

    def before_test(self, runner) -> None:
        """Load the files of `init_cfg` where nothing else has been loaded.

        Args:
            runner (Runner): The runner that tests.

        Raises:
            ValueError: If they lack a weight of the model.
        """
        self._loading.close()
        untouched = not (runner._has_loaded or _trains(runner))
        if untouched and names_all_weights(runner.cfg.get('model') or {}):
            load_initial_weights(unwrap(runner.model))


def _trains(runner) -> bool:
    # The loop of a training is built before anything is loaded; in a test it stays a config.
    return isinstance(runner._train_loop, BaseLoop)
