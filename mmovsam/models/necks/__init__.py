"""Necks."""

from .sam2clip_neck import SAM2CLIPNeck

__all__ = ['SAM2CLIPNeck']
