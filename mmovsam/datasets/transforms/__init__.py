"""Transforms of the data pipelines."""

from .loading import LoadImage
from .resize import ResizeLongestSide

__all__ = ['LoadImage', 'ResizeLongestSide']
