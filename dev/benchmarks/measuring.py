"""Time, memory and arithmetic of a function, beside those of its plain twin."""

from __future__ import annotations

import ctypes
import gc
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

_STATUS = Path('/proc/self/status')
_CLEAR = Path('/proc/self/clear_refs')


@dataclass(frozen=True)
class Measured:
    """A row of the results."""

    name: str
    number: int
    """Of prompts, names, masks or images."""
    seconds: float
    """Median."""
    peak_mb: float | None
    """Additional memory; None where it cannot be measured."""
    plain_seconds: float | None = None
    plain_peak_mb: float | None = None
    gflop: float | None = None
    """10^9 operations of the plain twin's matrix products and convolutions."""

    @property
    def ratio(self) -> float | None:
        """Speed-up over the plain twin."""
        return None if self.plain_seconds is None else self.plain_seconds / self.seconds

    @property
    def gflop_s(self) -> float | None:
        """Operations of the plain twin per second of this work."""
        return None if self.gflop is None else self.gflop / self.seconds


def measure(
    name: str,
    number: int,
    work: Callable[[], object],
    plain: Callable[[], object] | None = None,
    pairs: int = 5,
    device: torch.device | str = 'cpu',
) -> Measured:
    """Run a function and its plain twin in turn: to warm up, for the time, for the memory.

    Args:
        name: See `Measured`.
        number: See `Measured`.
        work: The function.
        plain: Its plain twin, or None.
        pairs: Number of timed runs of both.
        device: Of the computation.
    """
    gflop = None
    work()
    if plain is not None:
        with FlopCounterMode(display=False) as counter:
            plain()
        gflop = counter.get_total_flops() / 1e9
    runs = [work] if plain is None else [work, plain]
    times = [[_seconds(run, device) for run in runs] for _ in range(pairs)]
    median = [statistics.median(values) for values in zip(*times)]
    peak = [_peak_mb(run, device) for run in runs]
    if plain is None:
        median, peak = [*median, None], [*peak, None]
    return Measured(name, number, median[0], peak[0], median[1], peak[1], gflop)


def machine_rates(dtype: torch.dtype, device: torch.device | str = 'cpu') -> dict[str, float]:
    """GFLOP/s of this machine in a large matrix product and a large convolution."""
    a, b = (torch.randn(4096, 4096, device=device).to(dtype) for _ in range(2))
    image = torch.randn(1, 256, 128, 128, device=device).to(dtype)
    image = image.contiguous(memory_format=torch.channels_last)
    conv = torch.nn.Conv2d(256, 256, 3, padding=1, device=device, dtype=dtype)
    conv = conv.to(memory_format=torch.channels_last)
    works = dict(
        product=(lambda: a @ b, 2 * 4096**3),
        convolution=(lambda: conv(image), 2 * 256 * 256 * 9 * 128**2),
    )
    rates = {}
    with torch.no_grad():
        for name, (work, flop) in works.items():
            _seconds(work, device)
            rates[name] = flop / 1e9 / statistics.median(_seconds(work, device) for _ in range(5))
    return rates


def machine() -> dict:
    """Hardware and versions of a measurement."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path('/proc/cpuinfo')
    if cpuinfo.is_file():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith('model name')]
        model = names[0].split(':')[1].strip() if names else model
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return dict(cpu=model, gpu=device, threads=torch.get_num_threads(), torch=torch.__version__)


def _seconds(work: Callable[[], object], device: torch.device | str) -> float:
    _wait(device)
    start = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - start


def _wait(device: torch.device | str) -> None:
    if torch.device(device).type == 'cuda':
        torch.cuda.synchronize(device)


def _peak_mb(work: Callable[[], object], device: torch.device | str) -> float | None:
    """Additional memory of a function in MB."""
    if torch.device(device).type == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        _seconds(work, device)
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20
    if not _CLEAR.exists():
        return None
    _return_free_memory()
    _CLEAR.write_text('5')  # resets the peak
    before = _memory_kb('VmRSS')
    work()
    return (_memory_kb('VmHWM') - before) / 1024


def _return_free_memory() -> None:
    """Return free memory to the system, so that new memory is measured."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)  # of glibc
    if trim is not None:
        trim(0)


def _memory_kb(key: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f'{key}:'))
    return int(line.split()[1])
