"""Open-Vocabulary SAM for MMDetection: importing this package registers all its components."""

from . import compat
from .version import __version__

compat.mend()  # first: before anything imports torchvision

from . import checkpoints, datasets, engine, evaluation, models, prompts  # noqa: F401

__all__ = ['__version__']
