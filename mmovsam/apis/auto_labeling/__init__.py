"""Labels many images, in the formats of annotation tools."""

from .auto_label import Labeled, auto_label

__all__ = ['Labeled', 'auto_label']
