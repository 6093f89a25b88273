"""A machine learning backend for Label Studio."""

from .app import MAX_BODY, BackendApp
from .backend import LabelStudioBackend
from .images import ImageSource

__all__ = ['MAX_BODY', 'BackendApp', 'ImageSource', 'LabelStudioBackend']
