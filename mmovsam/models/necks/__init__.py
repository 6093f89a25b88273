"""Adapters: from a tower's pyramid to the mask decoder's embedding."""

from .high_resolution_neck import HighResolutionNeck
from .sam2clip_neck import SAM2CLIPNeck

__all__ = ['HighResolutionNeck', 'SAM2CLIPNeck']
