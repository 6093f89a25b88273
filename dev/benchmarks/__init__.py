"""Benchmarks of the package beside a plain implementation."""

from .measuring import Measured, machine, machine_rates, measure
from .plain import masks_to_rle, plain_twin
from .report import plot, table, write_json

__all__ = [
    'Measured',
    'machine',
    'machine_rates',
    'masks_to_rle',
    'measure',
    'plain_twin',
    'plot',
    'table',
    'write_json',
]
