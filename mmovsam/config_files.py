"""Config files by their names."""

import importlib.util
from pathlib import Path


def find_config(name) -> Path:
    """A config file by its path, or by its name among the configs of a package.

    Args:
        name (str | Path): A path; `'<package>::<path>'` with an installed package, such as
            `'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py'`; or the name of one of ours, such as
            `'mini/ovsam_mini_boxes.py'`.

    Returns:
        Path: An existing file.

    Raises:
        FileNotFoundError: If there is none; the message says where it was looked for.
    """
    package, separator, path = str(name).rpartition('::')
    folders = _config_folders(package or 'mmovsam')
    candidates = [folder / path for folder in folders]
    if not separator:
        candidates.insert(0, Path(path).expanduser())
    for file in candidates:
        if file.is_file():
            return file
    ours = {
        str(file.relative_to(folder))
        for folder in _config_folders('mmovsam')
        for file in folder.rglob('*.py')
        if '_base_' not in file.parts
    }
    raise FileNotFoundError(
        f'There is no config {name}. Give a file (the working folder is {Path.cwd()}), '
        "'<package>::<path>' with an installed package, such as "
        f"'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py', or one of: {', '.join(sorted(ours))}."
    )


def _config_folders(package) -> list:
    """Where a package keeps its configs: in the wheel, and beside it in a checkout."""
    spec = importlib.util.find_spec(package)
    homes = [Path(home) for home in (spec.submodule_search_locations or ())] if spec else []
    return [home / '.mim' / 'configs' for home in homes] + [
        home.parent / 'configs' for home in homes
    ]
