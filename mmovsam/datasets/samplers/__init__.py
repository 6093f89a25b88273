"""Samplers."""

from .mixed_sampler import MixedSampler

__all__ = ['MixedSampler']
