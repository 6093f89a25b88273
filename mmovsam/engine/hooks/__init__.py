"""Hooks for MMEngine's Runner."""

from .checks import (
    CheckpointCheckHook,
    ClassCheckHook,
    ClassFrequencyHook,
    ImageCheckHook,
    PrepareForInferenceHook,
)
from .heartbeat_hook import HeartbeatHook
from .non_finite_loss_hook import NonFiniteLossError, NonFiniteLossHook
from .pictures import PictureHook, ValPictureHook
from .reports import SingleLoggerHook, TrainingReportHook

__all__ = [
    'CheckpointCheckHook',
    'ClassCheckHook',
    'ClassFrequencyHook',
    'HeartbeatHook',
    'ImageCheckHook',
    'NonFiniteLossError',
    'NonFiniteLossHook',
    'PictureHook',
    'PrepareForInferenceHook',
    'SingleLoggerHook',
    'TrainingReportHook',
    'ValPictureHook',
]
