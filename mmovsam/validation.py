"""Checks of arguments, whose errors name the value and what was expected."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from os import PathLike
from pathlib import Path


def require_at_least(least: float, **values: float | None) -> None:
    """Raise a `ValueError` for values below `least`; None passes.

    Values of at least 1 are counts and have to be integers.
    """
    for name, value in values.items():
        if value is not None and not (isinstance(value, Real) and value >= least):
            raise ValueError(f'{name} must be at least {least}, not {value!r}.')
        if value is not None and least == 1 and not isinstance(value, Integral):
            raise ValueError(f'{name} must be a whole number, not {value!r}.')


def require_fraction(**values: float) -> None:
    """Raise a `ValueError` for values that are not between 0 and 1."""
    for name, value in values.items():
        if not (isinstance(value, Real) and 0 <= value <= 1):
            raise ValueError(f'{name} must lie between 0 and 1, not {value!r}.')


def require_choice(choices: Iterable[str], **values: str | None) -> None:
    """Raise a `ValueError` for values that are not among the choices."""
    for name, value in values.items():
        if value not in choices:
            raise ValueError(f'{name} is {value!r}; choose one of {", ".join(choices)}.')


def require_known(owner: str, names: Iterable, known: Sequence[str]) -> None:
    """Raise a `ValueError` for unknown names; the message begins with the owner, a word or two."""
    unknown = sorted(map(str, set(names) - set(known)))
    if unknown:
        raise ValueError(f'{owner} has no {", ".join(unknown)}; it has {", ".join(known)}.')


def require_not_among(files: Iterable[PathLike | str], inputs: Iterable[PathLike | str]) -> None:
    """Raise a `ValueError` if an output file is an input file, links resolved."""
    common = set(map(os.path.realpath, files)) & set(map(os.path.realpath, inputs))
    if common:
        raise ValueError(f'{min(common)} is read, and would be replaced: write somewhere else.')


def require_file(path: str | PathLike, kind: str, remedy: str = '') -> Path:
    """The path of an existing file; else a `FileNotFoundError` with its kind and the remedy."""
    path = Path(path)
    if not path.is_file():
        is_folder = path.is_dir()
        problem = f'{path} is a folder, no {kind}.' if is_folder else f'There is no {kind} {path}.'
        raise FileNotFoundError(f'{problem} The working folder is {Path.cwd()}. {remedy}'.rstrip())
    return path
