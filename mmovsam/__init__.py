"""Open-Vocabulary SAM for MMDetection: importing this package registers all its components."""

from .dependencies import require_openmmlab, require_operators

require_openmmlab()  # before anything imports them

from . import compat
from .version import __version__

compat.fix_torchvision()  # before anything imports torchvision
require_operators()

from . import checkpoints, datasets, engine, evaluation, models, prompts  # noqa: F401

__all__ = ['__version__']
