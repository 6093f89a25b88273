"""Losses of names."""

from .vocabulary_loss import ImageLabels, RegionLosses, VocabularyLoss

__all__ = ['ImageLabels', 'RegionLosses', 'VocabularyLoss']
