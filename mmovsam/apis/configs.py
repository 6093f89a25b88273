"""Where the configs of this package lie, in a checkout as in an installed wheel."""
from __future__ import annotations

from pathlib import Path

from mmengine.config import Config

_PACKAGE = Path(__file__).resolve().parents[1]
_FOLDERS = (_PACKAGE / '.mim' / 'configs', _PACKAGE.parent / 'configs')


def find_config(name: str | Path) -> Path:
    """A config file by its path, or by its name among the configs of this package.

    Args:
        name: A path, or a name such as `mini/ovsam_mini_boxes.py`.

    Raises:
        FileNotFoundError: There is no such config; the message lists those that there are.
    """
    path = Path(name).expanduser()
    for candidate in (path, *(folder / path for folder in _FOLDERS)):
        if candidate.is_file():
            return candidate
    known = sorted(
        str(file.relative_to(folder))
        for folder in _FOLDERS
        for file in folder.rglob('*.py')
        if '_base_' not in file.parts
    )
    raise FileNotFoundError(
        f'There is no config {str(name)!r} in {Path.cwd()} and none of that name in mmovsam, which has: '
        f'{", ".join(dict.fromkeys(known))}.'
    )


def load_config(name: str | Path) -> Config:
    """Read a config; see `find_config` for its name."""
    return Config.fromfile(find_config(name))
