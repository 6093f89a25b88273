"""Config files by name, and entries of configs."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path


def find_config(name) -> Path:
    """An existing config file by its path, or by its name in a package.

    Args:
        name (str | Path): A path; `'<package>::<path>'` of an installed package, such as
            `'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py'`; or a name in this package, such as
            `'mini/ovsam_mini_boxes.py'`.

    Raises:
        FileNotFoundError: If there is none; the message lists those of this package.
    """
    package, separator, path = str(name).rpartition('::')
    folders = _config_folders(package or 'mmovsam')
    candidates = [folder / path for folder in folders]
    if not separator:
        candidates.insert(0, Path(path).expanduser())
    for file in candidates:
        if file.is_file():
            return file
    shipped = {
        str(file.relative_to(folder))
        for folder in _config_folders('mmovsam')
        for file in folder.rglob('*.py')
        if '_base_' not in file.parts
    }
    raise FileNotFoundError(
        f'There is no config {name}. Give a file (the working folder is {Path.cwd()}), '
        "'<package>::<path>' with an installed package, such as "
        f"'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py', or one of: {', '.join(sorted(shipped))}."
    )


def type_name(cfg) -> str:
    """The name of a config's type, without the scope."""
    kind = cfg['type']
    return kind.split('.')[-1] if isinstance(kind, str) else kind.__name__


def wrapped_datasets(cfg) -> list:
    """The configs of the datasets that a dataset's config wraps as `dataset` or `datasets`."""
    wrapped = [cfg.get('dataset'), *(cfg.get('datasets') or ())]
    return [inner for inner in wrapped if isinstance(inner, Mapping)]


def _config_folders(package) -> list:
    """Folders of a package's configs: in a wheel, and beside the package in a checkout."""
    spec = importlib.util.find_spec(package)
    folders = [Path(path) for path in (spec.submodule_search_locations or ())] if spec else []
    return [folder / '.mim' / 'configs' for folder in folders] + [
        folder.parent / 'configs' for folder in folders
    ]
