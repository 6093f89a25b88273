"""Detectors and the models that train them."""

from .clip_pretrainer import CLIPPretrainer
from .ovsam import OVSAM, ImageFeatures
from .sam2clip_distiller import SAM2CLIPDistiller
from .sam_clip_baseline import SAMCLIPBaseline

__all__ = ['CLIPPretrainer', 'ImageFeatures', 'OVSAM', 'SAM2CLIPDistiller', 'SAMCLIPBaseline']
