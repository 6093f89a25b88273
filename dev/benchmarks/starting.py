"""How long it takes from the start of a process to a model that can answer."""

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
    """Import everything and build a model, in processes of their own.

    Args:
        config: Of a model whose weights are there.
        number: Of processes that are timed; one more warms up, and one times imports.

    Raises:
        RuntimeError: The model cannot be built.
    """
    _started(config)
    times = [_started(config) for _ in range(number)]
    total, building = (statistics.median(each) for each in zip(*times))
    yield Measured('start: import and build', 1, total, None)
    yield Measured('of this: build', 1, building, None)
    command = [sys.executable, '-X', 'importtime', '-c', 'import mmovsam.apis']
    imports = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    own, others = {}, {}
    for self_us, cumulative_us, name in _MODULE.findall(imports):
        (own if name.split('.')[0] == 'mmovsam' else others)[name] = (self_us, cumulative_us)
    yield Measured('of this: import PyTorch', 1, int(others['torch'][1]) / 1e6, None)
    own_seconds = sum(int(self_us) for self_us, _ in own.values()) / 1e6
    yield Measured('of this: modules of mmovsam', len(own), own_seconds, None)


def _started(config: str) -> tuple[float, float]:
    """Seconds from the start of a process until a model is built, and of building alone."""
    begin = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, '-c', _BUILD, config],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said = []
    for line in process.stdout:
        if line.startswith('built '):
            total = time.perf_counter() - begin
            process.communicate()
            return total, float(line.split()[1])
        said.append(line)
    raise RuntimeError(f'{config} cannot be built:\n{"".join(said)}')
