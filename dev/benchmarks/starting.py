"""Time from the start of a process to a built model."""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

from .measuring import Measured

_BUILD = """
import sys, time
from mmovsam.apis import OVSAMPredictor
imported = time.perf_counter()
OVSAMPredictor.from_config(sys.argv[1])
print('built', time.perf_counter() - imported, flush=True)
"""
_MODULE = re.compile(r'import time: +(\d+) \| +(\d+) \| +(\S+)')


def start(config: str, number: int) -> Iterator[Measured]:
    """Import the package and build a model in `number` processes, after a warm-up.

    Raises:
        RuntimeError: The model cannot be built.
    """
    _time_start(config)
    times = [_time_start(config) for _ in range(number)]
    total, building = (statistics.median(values) for values in zip(*times))
    yield Measured('start: import and build', 1, total, None)
    yield Measured('of this: build', 1, building, None)
    command = [sys.executable, '-X', 'importtime', '-c', 'import mmovsam.apis']
    imports = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    modules = {name: (int(own), int(total)) for own, total, name in _MODULE.findall(imports)}
    yield Measured('of this: import PyTorch', 1, modules['torch'][1] / 1e6, None)
    own = [times[0] for name, times in modules.items() if name.split('.')[0] == 'mmovsam']
    yield Measured('of this: modules of mmovsam', len(own), sum(own) / 1e6, None)


def _time_start(config: str) -> tuple[float, float]:
    """Seconds from the start of a process to a built model, and of building alone."""
    begin = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, '-c', _BUILD, config],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    output = []
    for line in process.stdout:
        if line.startswith('built '):
            total = time.perf_counter() - begin
            process.communicate()
            return total, float(line.split()[1])
        output.append(line)
    raise RuntimeError(f'{config} cannot be built:\n{"".join(output)}')
