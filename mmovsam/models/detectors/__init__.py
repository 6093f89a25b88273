"""Detectors and the models that train them."""

from .features import ImageFeatures
from .ovsam import OVSAM
from .sam2clip_distiller import SAM2CLIPDistiller
from .sam_clip_baseline import SAMCLIPBaseline

__all__ = ['ImageFeatures', 'OVSAM', 'SAM2CLIPDistiller', 'SAMCLIPBaseline']
