"""Open-Vocabulary SAM for MMDetection: importing this package registers all its components."""

import gc

_collecting = gc.isenabled()
gc.disable()  # imports make hundreds of thousands of objects that stay: a third of their time
try:
    from .dependencies import require_openmmlab, require_operators

    require_openmmlab()  # before anything imports them

    from . import compat
    from .version import __version__

    compat.mend()  # before anything imports torchvision
    require_operators()

    from . import checkpoints, datasets, engine, evaluation, models, prompts  # noqa: F401
finally:
    if _collecting:
        gc.enable()

__all__ = ['__version__']
