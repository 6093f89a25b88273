"""Transforms of the data pipelines."""

from .resize import ResizeLongestSide

__all__ = ['ResizeLongestSide']
