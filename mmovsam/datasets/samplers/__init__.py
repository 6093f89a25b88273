"""The order in which a mixture of data sets is drawn."""

from .mixed_sampler import MixedSampler

__all__ = ['MixedSampler']
