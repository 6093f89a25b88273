"""Tests a model in the form in which it is the fastest."""

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from ...models.prepare import PRECISIONS, prepare_for_inference
from ..unwrap import unwrap

_BY_NAME = {str(dtype).removeprefix('torch.'): dtype for dtype in PRECISIONS}


@HOOKS.register_module()
class PrepareForInferenceHook(Hook):
    """Prepare an OVSAM before it is tested: see `mmovsam.apis.prepare_for_inference`.

    Training and its validation are left alone.

    Args:
        dtype: Precision of the encoder: `'float32'`, `'bfloat16'` or `'float16'`.

    Raises:
        ValueError: The precision is none of these.
    """

    def __init__(self, dtype: str = 'float32') -> None:
        if dtype not in _BY_NAME:
            raise ValueError(f'dtype is {dtype!r}; choose one of {", ".join(_BY_NAME)}.')
        self.dtype: torch.dtype = _BY_NAME[dtype]

    def before_test(self, runner) -> None:
        """Prepare the model, whose weights are loaded."""
        prepare_for_inference(unwrap(runner.model).eval(), self.dtype)
