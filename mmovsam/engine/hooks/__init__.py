"""Hooks for MMEngine's Runner."""

from .checkpoint_check_hook import CheckpointCheckHook
from .class_check_hook import ClassCheckHook
from .class_frequency_hook import ClassFrequencyHook
from .heartbeat_hook import HeartbeatHook
from .image_check_hook import ImageCheckHook
from .non_finite_loss_hook import NonFiniteLossError, NonFiniteLossHook
from .picture_hook import PictureHook
from .prepare_for_inference_hook import PrepareForInferenceHook
from .single_logger_hook import SingleLoggerHook
from .training_report_hook import TrainingReportHook
from .val_picture_hook import ValPictureHook

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
