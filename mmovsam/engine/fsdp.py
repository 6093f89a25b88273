"""Fully sharded data parallel training with MMEngine's strategy, on a current PyTorch."""

from __future__ import annotations

import contextlib

import torch
from mmengine._strategy import FSDPStrategy
from mmengine.device import get_device
from mmengine.dist import is_main_process
from mmengine.optim import OptimWrapper
from mmengine.registry import STRATEGIES
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel

from ..fileio import atomic_path

_OPTIMIZER = ('state', 'param_groups')  # what an optimizer's own state has; a wrapper adds to it


@STRATEGIES.register_module()
class FullStateFSDPStrategy(FSDPStrategy):
    """MMEngine's `FSDPStrategy`, with checkpoints that any number of processes goes on from.

    Frozen parameters are not sharded. What MMEngine 0.10.7 lacks for PyTorch 2.13 is here: a device
    without a GPU, the norm of all shards where gradients are clipped, the order of PyTorch's
    arguments where the state of the optimizer is loaded, and checkpoints written whole.

    Args:
        model_wrapper: Config of `MMFullyShardedDataParallel`.
        **kwargs: As for `FSDPStrategy`; not `state_dict_cfg`.
    """

    def __init__(self, *, model_wrapper: dict | None = None, **kwargs) -> None:
        on_gpu = torch.cuda.is_available()  # from a CPU to a CPU PyTorch would free what it moved
        state_dict_cfg = dict(
            state_dict_type='FULL_STATE_DICT',
            state_dict_config=dict(type='FullStateDictConfig', offload_to_cpu=on_gpu),
            optim_state_dict_config=dict(
                type='FullOptimStateDictConfig', offload_to_cpu=on_gpu, rank0_only=on_gpu
            ),
        )
        model_wrapper = dict(model_wrapper or {})
        model_wrapper.setdefault('type', 'MMFullyShardedDataParallel')
        if not on_gpu:
            model_wrapper['device_id'] = torch.device('cpu')
        super().__init__(model_wrapper=model_wrapper, state_dict_cfg=state_dict_cfg, **kwargs)

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        frozen = [p for p in model.parameters() if not p.requires_grad]
        self.model_wrapper['ignored_states'] = frozen
        return super()._wrap_model(model.to(get_device()))

    def build_optim_wrapper(self, optim_wrapper, model=None):
        """As `FSDPStrategy`, but gradients are clipped by the norm of all shards."""
        built = super().build_optim_wrapper(optim_wrapper, model)
        clips = isinstance(built, OptimWrapper) and built.clip_grad_kwargs
        if clips and built.clip_func is torch.nn.utils.clip_grad_norm_:
            built.clip_func = lambda _, **settings: model.clip_grad_norm_(**settings)
        return built

    def save_checkpoint(self, filename: str, **kwargs) -> None:
        """Write a checkpoint, whole or not at all; all processes take part."""
        writing = atomic_path(filename) if is_main_process() else contextlib.nullcontext(filename)
        with writing as path:
            super().save_checkpoint(str(path), **kwargs)

    def optim_state_dict(self) -> dict:
        """The optimizer's state by the names of parameters, and what its wrapper adds."""
        state = FullyShardedDataParallel.optim_state_dict(self.model, self.optim_wrapper.optimizer)
        whole = self.optim_wrapper.state_dict()
        return {**state, **{key: whole[key] for key in whole if key not in _OPTIMIZER}}

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Divide what `optim_state_dict` made, in any number of processes, among these."""
        if not all(isinstance(name, str) for name in state_dict['state']):
            raise ValueError(
                'The checkpoint was not written by a sharded training, and the state of its '
                'optimizer cannot be sharded. Resume it without sharding, or begin with its '
                'weights: --cfg-options load_from=CHECKPOINT in place of --resume.'
            )
        state = {key: state_dict.pop(key) for key in _OPTIMIZER}
        state = FullyShardedDataParallel.optim_state_dict_to_load(
            self.model, self.optim_wrapper.optimizer, state
        )
        self.optim_wrapper.load_state_dict({**state_dict, **state})
