"""Transforms of the data pipelines."""

from .loading import LoadImage

__all__ = ['LoadImage']
