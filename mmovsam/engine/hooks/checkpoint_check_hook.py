"""Refuses a checkpoint that is not of the model."""

import re

from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.registry import HOOKS

from ...checkpoints import state_dict_of


@HOOKS.register_module()
class CheckpointCheckHook(Hook):
    """Stop when a checkpoint does not fit the model; MMEngine would only log it and go on.

    Names that only one side has are no fault (a backbone's weights, a new head), unless no name
    is common. Tensors of equal name and different shape are.
    """

    def after_load_checkpoint(self, runner, checkpoint) -> None:
        """Compare names and shapes before they are copied into the model.

        Args:
            runner (Runner): The runner that loads or resumes.
            checkpoint (dict): What was read.

        Raises:
            ValueError: If shapes differ or nothing matches.
        """
        model = runner.model
        while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
            model = model.module
        expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
        found = {
            re.sub(r'^module\.', '', name): tuple(value.shape)
            for name, value in state_dict_of(checkpoint).items()
        }
        common = [name for name in found if name in expected]
        remedy = 'Was the checkpoint made with another config?'
        if not common:
            raise ValueError(
                f'Nothing in the checkpoint belongs to this model: it holds {_some(found)}, the '
                f'model has {_some(expected)}. {remedy}'
            )
        differing = [name for name in common if found[name] != expected[name]]
        if differing:
            lines = [f'{n}: {found[n]} in the file, {expected[n]} in the model' for n in differing]
            raise ValueError(
                f'{len(differing)} tensors of the checkpoint have another shape than in this '
                f'model ({"; ".join(lines[:3])}). {remedy}'
            )


def _some(names) -> str:
    names = list(names)
    return ', '.join(names[:3]) + (' ...' if len(names) > 3 else '')
