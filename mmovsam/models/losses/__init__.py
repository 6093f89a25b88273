"""Losses."""

from .class_sampler import ClassSampler
from .vocabulary_loss import ImageLabels, RegionLosses, VocabularyLoss

__all__ = ['ClassSampler', 'ImageLabels', 'RegionLosses', 'VocabularyLoss']
