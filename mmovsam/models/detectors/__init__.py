"""Detectors and the models that train them."""

from .clip_pretrainer import CLIPPretrainer
from .ovsam import OVSAM, ImageFeatures
from .sam2clip_distiller import SAM2CLIPDistiller

__all__ = ['CLIPPretrainer', 'ImageFeatures', 'OVSAM', 'SAM2CLIPDistiller']
