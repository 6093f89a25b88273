"""Benchmark results as a table, JSON or plot."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from mmovsam.fileio import atomic_path, write_atomic
from .measuring import Measured

_COLUMNS = ('work', 'number', 's', 'plain s', 'ratio', 'GFLOP/s', 'peak MB', 'plain MB')


def table(rows: Sequence[Measured]) -> str:
    """A Markdown table; GFLOP/s are of the plain twin's arithmetic."""
    lines = [_line(_COLUMNS), _line(['---'] * len(_COLUMNS))]
    for row in rows:
        numbers = (row.seconds, row.plain_seconds, row.ratio, row.gflop_s)
        memory = (row.peak_mb, row.plain_peak_mb)
        cells = ['' if value is None else f'{value:.3g}' for value in numbers]
        cells += ['' if value is None else f'{value:.0f}' for value in memory]
        lines.append(_line([row.name, str(row.number), *cells]))
    return '\n'.join(lines)


def write_json(path: str | PathLike, rows: Sequence[Measured], settings: dict) -> None:
    """Write all results and settings atomically."""
    measured = [dict(dataclasses.asdict(row), ratio=row.ratio, gflop_s=row.gflop_s) for row in rows]
    write_atomic(path, json.dumps(dict(settings, measured=measured), indent=2) + '\n')


def plot(path: str | PathLike, rows: Sequence[Measured]) -> None:
    """Plot time against number on logarithmic axes.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: matplotlib does not support the file's suffix.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('A plot needs matplotlib: pip install matplotlib.') from error
    figure = Figure(figsize=(6, 4), layout='constrained')
    axes = figure.add_subplot()
    for name in dict.fromkeys(row.name for row in rows):
        group = [row for row in rows if row.name == name]
        axes.plot([r.number for r in group], [r.seconds for r in group], 'o-', label=name)
        plain = [(r.number, r.plain_seconds) for r in group if r.plain_seconds is not None]
        if plain:
            axes.plot(*zip(*plain), 's--', label=f'{name}, plain')
    axes.set(xscale='log', yscale='log', xlabel='number', ylabel='seconds')
    axes.grid(alpha=0.3)
    axes.legend()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format=Path(path).suffix[1:] or 'png')


def _line(cells: Sequence[str]) -> str:
    return f'| {" | ".join(cells)} |'
