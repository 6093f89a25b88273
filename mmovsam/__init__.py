"""Open-Vocabulary SAM for MMDetection: importing this package registers all its components."""

import gc

_collecting = gc.isenabled()
gc.disable()  # imports make hundreds of thousands of objects that stay: a third of their time
try:
    from . import compat
    from .version import __version__

    compat.mend()  # first: before anything imports torchvision

    from . import checkpoints, datasets, engine, evaluation, models, prompts  # noqa: F401
finally:
    if _collecting:
        gc.enable()

__all__ = ['__version__']
