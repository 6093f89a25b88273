"""Refuses weights that are not of the model."""

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import BaseLoop

from ...checkpoints import check_fit, load_initial_weights, names_all_weights
from ..unwrap import unwrap


@HOOKS.register_module()
class CheckpointCheckHook(Hook):
    """Stop when a checkpoint does not fit the model; MMEngine would only log it and go on.

    Tensors of equal name and different shape are a fault, and a checkpoint without a common name.
    Names that only the model has are one in a test, where these weights would be random. A test
    without a checkpoint begins with the files that `init_cfg` names, if each part of the model has
    one; MMEngine would read them for a training only.
    """

    def after_load_checkpoint(self, runner, checkpoint) -> None:
        """Compare names and shapes before they are copied into the model.

        Args:
            runner (Runner): The runner that loads or resumes.
            checkpoint (dict): What was read.

        Raises:
            ValueError: If shapes differ, nothing matches, or a test lacks weights.
        """
        check_fit(unwrap(runner.model), checkpoint, whole=not _trains(runner))

    def before_test(self, runner) -> None:
        """Load the files of `init_cfg` where nothing else has been loaded.

        Args:
            runner (Runner): The runner that tests.

        Raises:
            ValueError: If they lack a weight of the model.
        """
        untouched = not (runner._has_loaded or _trains(runner))
        if untouched and names_all_weights(runner.cfg.get('model') or {}):
            load_initial_weights(unwrap(runner.model))


def _trains(runner) -> bool:
    # The loop of a training is built before anything is loaded; in a test it stays a config.
    return isinstance(runner._train_loop, BaseLoop)
