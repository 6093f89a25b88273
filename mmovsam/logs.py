"""Messages in MMEngine's current log, or printed if there is none."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from mmengine.logging import print_log


def warn(message: str) -> None:
    """Log a warning."""
    print_log(message, logger='current', level=logging.WARNING)


def log_table(columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> None:
    """Log a table with names of columns and rows."""
    width = max(map(len, rows)) + 2
    lines = [
        f'{name:<{width}}' + ''.join(f'{cell:>9}' for cell in cells)
        for name, cells in [('', columns), *rows.items()]
    ]
    print_log('\n'.join(['', *lines]), logger='current')
