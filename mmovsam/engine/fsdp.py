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

_OPTIMIZER = ('state', 'param_groups')  # keys of an optimizer's state; its wrapper adds others


@STRATEGIES.register_module()
class FullStateFSDPStrategy(FSDPStrategy):
    """MMEngine's `FSDPStrategy`, with checkpoints for any number of processes.

    Frozen parameters are not sharded. Adds what MMEngine 0.10.7 lacks for PyTorch 2.13: training
    without a GPU, gradient clipping by the norm over all shards, PyTorch's argument order for
    loading the optimizer's state, and atomic checkpoints.

    Args:
        model_wrapper: Config of `MMFullyShardedDataParallel`.
        **kwargs: See `FSDPStrategy`; without `state_dict_cfg`.
    """

    def __init__(self, *, model_wrapper: dict | None = None, **kwargs) -> None:
        on_gpu = torch.cuda.is_available()  # offloading from CPU to CPU would free the tensors
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
        """As `FSDPStrategy`, but gradients are clipped by the norm over all shards."""
        wrapper = super().build_optim_wrapper(optim_wrapper, model)
        clips = isinstance(wrapper, OptimWrapper) and wrapper.clip_grad_kwargs
        if clips and wrapper.clip_func is torch.nn.utils.clip_grad_norm_:
            wrapper.clip_func = lambda _, **settings: model.clip_grad_norm_(**settings)
        return wrapper

    def save_checkpoint(self, filename: str, **kwargs) -> None:
        """Write a checkpoint atomically; all processes take part."""
        context = atomic_path(filename) if is_main_process() else contextlib.nullcontext(filename)
        with context as path:
            super().save_checkpoint(str(path), **kwargs)

    def optim_state_dict(self) -> dict:
        """The optimizer's state by parameter names, and its wrapper's."""
        state = FullyShardedDataParallel.optim_state_dict(self.model, self.optim_wrapper.optimizer)
        wrapper_state = self.optim_wrapper.state_dict()
        return {**{k: v for k, v in wrapper_state.items() if k not in _OPTIMIZER}, **state}

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Load a state of `optim_state_dict`, from any number of processes."""
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
