"""Detectors and the models that train them."""

from .clip_pretrainer import CLIPPretrainer
from .features import ImageFeatures
from .ovsam import OVSAM
from .sam2clip_distiller import SAM2CLIPDistiller
from .sam_clip_baseline import SAMCLIPBaseline

__all__ = ['CLIPPretrainer', 'ImageFeatures', 'OVSAM', 'SAM2CLIPDistiller', 'SAMCLIPBaseline']
