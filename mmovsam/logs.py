"""What a user is told by MMEngine's log, or on the screen where nothing logs yet."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from mmengine.logging import print_log


def warn(message: str) -> None:
    """Log a warning."""
    print_log(message, logger='current', level=logging.WARNING)


def log_table(columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> None:
    """Log rows of cells with their names."""
    width = max(map(len, rows)) + 2
    lines = [(' ' * width, *columns), *((f'{name:<{width}}', *row) for name, row in rows.items())]
    text = '\n'.join(name + ''.join(f'{cell:>9}' for cell in cells) for name, *cells in lines)
    print_log(f'\n{text}', logger='current')
