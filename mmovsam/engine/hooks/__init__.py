"""Hooks for MMEngine's Runner."""

from .atomic_checkpoint_hook import AtomicCheckpointHook
from .checkpoint_check_hook import CheckpointCheckHook
from .class_check_hook import ClassCheckHook
from .random_state_hook import RandomStateHook

__all__ = ['AtomicCheckpointHook', 'CheckpointCheckHook', 'ClassCheckHook', 'RandomStateHook']
