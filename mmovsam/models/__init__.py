"""Registered models, in MMDetection's own folders."""

from . import backbones, data_preprocessors, detectors, heads, losses, necks

__all__ = ['backbones', 'data_preprocessors', 'detectors', 'heads', 'losses', 'necks']
