"""Hooks for MMEngine's Runner."""

from .atomic_checkpoint_hook import AtomicCheckpointHook
from .checkpoint_check_hook import CheckpointCheckHook
from .class_check_hook import ClassCheckHook
from .class_frequency_hook import ClassFrequencyHook
from .random_state_hook import RandomStateHook
from .sample_seed_hook import SampleSeedHook
from .single_logger_hook import SingleLoggerHook
from .step_timeout_hook import StepTimeoutHook

__all__ = [
    'AtomicCheckpointHook',
    'CheckpointCheckHook',
    'ClassCheckHook',
    'ClassFrequencyHook',
    'RandomStateHook',
    'SampleSeedHook',
    'SingleLoggerHook',
    'StepTimeoutHook',
]
