"""Registered models, in MMDetection's own folders."""

from mmdet.registry import MODELS

from ..layers import GlobalBatchNorm2d
from . import backbones, data_preprocessors, detectors, heads, losses, necks

# for the `norm_cfg` of any model
MODELS.register_module('GlobalBN', module=GlobalBatchNorm2d)

__all__ = ['backbones', 'data_preprocessors', 'detectors', 'heads', 'losses', 'necks']
