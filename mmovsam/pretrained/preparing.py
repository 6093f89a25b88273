"""Configs and weights of pretrained models."""

from __future__ import annotations

import difflib
from os import PathLike
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import print_log

from ..checkpoints.convert import convert, expected_tensors
from ..checkpoints.fingerprint import hash_of
from ..checkpoints.loading import resolve_path
from ..config_files import find_config
from ..downloads import cached_file, is_address
from ..version import __version__
from .registry import MODELS, PretrainedModel, find_pretrained


def read_config(config: str | PathLike, weights: bool = True) -> Config:
    """Read a config by its path, its name in the package, or the name of a pretrained model.

    Args:
        config: As for `mmovsam.config_files.find_config`, or a name of `MODELS`.
        weights: Whether `load_from` is set to the weights of a pretrained model, see `fetch_model`.

    Raises:
        FileNotFoundError: There is no such config.
        ValueError: It is invalid, or similar to the name of a model.
        DownloadError: Weights cannot be fetched.
    """
    name, path = str(config), config_path(config)
    try:
        cfg = Config.fromfile(str(path))
    except (SyntaxError, AssertionError, OSError) as error:
        if isinstance(error, OSError) and error.errno:  # MMEngine's own has none
            raise
        raise ValueError(f'Config {path} is not valid: {error}') from error
    if weights and name in MODELS and MODELS[name].sources:
        cfg.load_from = str(fetch_model(name))
    return cfg


def config_path(config: str | PathLike) -> Path:
    """The file of a config, by its name or that of a model; errors as of `read_config`."""
    name = str(config)
    if name in MODELS:
        return find_config(MODELS[name].config)
    try:
        return find_config(name)
    except FileNotFoundError:
        bare = not Path(name).suffix and '::' not in name and '/' not in name
        if bare and difflib.get_close_matches(name.lower().replace('_', '-'), MODELS, cutoff=0.4):
            find_pretrained(name)  # raises an error with the similar name
        raise


def checkpoint_file(checkpoint: str | PathLike) -> str:
    """The local file of a name of `MODELS` or an address; other checkpoints as they are.

    Raises:
        DownloadError: It cannot be fetched.
    """
    name = str(checkpoint)
    if name in MODELS:
        return str(fetch_model(name))
    return str(resolve_path(name)) if is_address(name) else name


def fetch_model(name: str) -> str | Path:
    """The weights of a pretrained model, fetched and converted at first use.

    Its sources are fetched by `mmovsam.downloads.fetch`, of SAM only the prompt encoder. The result
    is cached (`MMOVSAM_CACHE`); of several processes one converts while the others wait.

    Returns:
        A `.safetensors` file, or `mmovsam://NAME` for weights in the package.

    Raises:
        ValueError: There is no such model, or its sources have changed.
        DownloadError: A source cannot be fetched, or the result not be cached.
    """
    model = find_pretrained(name)
    if not model.sources:
        return Config.fromfile(str(find_config(model.config))).load_from
    # another version of the package may have other names of parameters
    key = hash_of([__version__, dict(model.sources)])[:12]
    return cached_file(f'{name} ({key})', f'{name}.safetensors', lambda file: _convert(model, file))


def _convert(model: PretrainedModel, file: Path) -> None:
    target = expected_tensors(Config.fromfile(str(find_config(model.config))))
    files = {key: str(resolve_path(address)) for key, address in model.sources.items()}
    conversion = convert(files, target)
    conversion.problems += [f'{name} is in none of the files.' for name in conversion.missing[:5]]
    conversion.save(file)
    print_log(f'{model.name}: converted, kept as {file}', logger='current')
