"""Hooks for MMEngine's Runner."""

from .atomic_checkpoint_hook import AtomicCheckpointHook
from .checkpoint_check_hook import CheckpointCheckHook
from .class_check_hook import ClassCheckHook
from .class_frequency_hook import ClassFrequencyHook
from .random_state_hook import RandomStateHook
from .single_logger_hook import SingleLoggerHook

__all__ = [
    'AtomicCheckpointHook',
    'CheckpointCheckHook',
    'ClassCheckHook',
    'ClassFrequencyHook',
    'RandomStateHook',
    'SingleLoggerHook',
]
