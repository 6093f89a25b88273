"""Refuses a checkpoint that is not of the model."""

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import BaseLoop

from ...checkpoints import check_fit
from .unwrap import unwrap


@HOOKS.register_module()
class CheckpointCheckHook(Hook):
    """Stop when a checkpoint does not fit the model; MMEngine would only log it and go on.

    Tensors of equal name and different shape are a fault, and a checkpoint without a common name.
    Names that only the model has are one in a test, where these weights would be random.
    """

    def after_load_checkpoint(self, runner, checkpoint) -> None:
        """Compare names and shapes before they are copied into the model.

        Args:
            runner (Runner): The runner that loads or resumes.
            checkpoint (dict): What was read.

        Raises:
            ValueError: If shapes differ, nothing matches, or a test lacks weights.
        """
        # The loop of a training is built before anything is loaded; in a test it stays a config.
        training = isinstance(runner._train_loop, BaseLoop)
        check_fit(unwrap(runner.model), checkpoint, whole=not training)
