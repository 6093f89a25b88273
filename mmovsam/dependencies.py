"""Checks that the OpenMMLab packages are installed, before anything imports them.

They are no requirements of the package, since there are two families with the same module names:
mmengine, mmcv and mmdet, and the maintained onedl-mmengine, onedl-mmcv and onedl-mmdetection.
"""

import importlib.metadata
import importlib.util
import sys
from pathlib import Path

ONEDL = ('onedl-mmengine', 'onedl-mmcv', 'onedl-mmdetection')
OPERATORS = '_ext'  # the module of mmcv's compiled operators


def require_openmmlab() -> None:
    """Check, without importing them, for mmengine, mmdet and an mmcv with compiled operators.

    Raises:
        ImportError: Something is missing; the message has the command that installs it.
    """
    extra = 'onedl' if any(map(_is_installed, ONEDL)) else 'openmmlab'
    missing = [name for name in ('mmengine', 'mmdet') if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(
            f'mmovsam needs {" and ".join(missing)}, which this environment lacks: '
            f"{sys.executable} -m pip install 'mmovsam[{extra}]' (in a checkout: '.[{extra}]')"
        )
    mmcv = importlib.util.find_spec('mmcv')
    if mmcv is None:
        raise ImportError(f'mmovsam needs mmcv, which this environment lacks: {build_command()}')
    folders = map(Path, mmcv.submodule_search_locations or ())
    if not any(path for folder in folders for path in folder.glob(f'{OPERATORS}.*')):
        raise ImportError(
            "mmovsam needs mmcv's compiled operators, and the mmcv of this environment "
            f'({mmcv.origin}) has none, as mmcv-lite and builds without PyTorch: {build_command()}'
        )


def require_operators() -> None:
    """Import mmcv's compiled operators.

    Raises:
        ImportError: They are of another PyTorch; the message has the command that rebuilds them.
    """
    try:
        importlib.import_module(f'mmcv.{OPERATORS}')
    except ImportError as error:
        raise ImportError(
            f"mmcv's compiled operators do not load ({error}). They were compiled for another "
            f'PyTorch: {build_command()}'
        ) from error


def build_command() -> str:
    """The shell command that builds mmcv for this environment."""
    package = Path(__file__).resolve().parent
    folders = (package.parent / 'tools', package / '.mim' / 'tools')
    tools = next((path for path in folders if (path / 'build_mmcv.py').is_file()), Path('tools'))
    return f'{sys.executable} {tools / "build_mmcv.py"}'


def _is_installed(name: str) -> bool:
    return next(iter(importlib.metadata.distributions(name=name)), None) is not None
