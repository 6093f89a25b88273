"""Run long commands with a log, progress on the screen, and remedies for failures.

Standard library only, for `set_up.py` and `build_mmcv.py`.
"""

import os
import re
import shlex
import subprocess
import time
from pathlib import Path

REMEDIES = (  # (pattern of the output, remedy); the first match counts
    (r'No space left on device', 'The disk is full: free about 8 GB and run the command again.'),
    (r'ensurepip is not|No module named (venv|ensurepip)', 'Install the venv module of this '
     'Python (Debian and Ubuntu: apt-get install python3-venv), or give another one: PYTHON=...'),
    (r'No module named pip', 'This environment has no pip: python -m ensurepip, or with uv: '
     'uv pip install pip.'),
    (r'externally-managed-environment', 'This Python belongs to the system. Make an environment '
     'of your own and use its Python: python3 -m venv .venv; .venv/bin/python ...'),
    (r'Python\.h: No such file', 'Install the headers of this Python (Debian and Ubuntu: '
     'apt-get install python3-dev), or give another Python: PYTHON=...'),
    (r"(No such file or directory: '(c\+\+|g\+\+|gcc|cc)'|(g\+\+|gcc|c\+\+|cc): (command )?not "
     r"found|command '[^']*(g\+\+|gcc|c\+\+)' failed: No such|unable to execute '[^']*(g\+\+|gcc)'"
     r'|CXX compiler|compiler .* not found)', 'mmcv is built here and needs a C++ compiler (Debian '
     'and Ubuntu: apt-get install g++), or give a folder with a built wheel: WHEELS=folder.'),
    (r'Killed signal|signal 9|Cannot allocate memory|virtual memory exhausted', 'The machine ran '
     'out of memory: run again with fewer compilers at a time, MAX_JOBS=1 make ...'),
    (r'Temporary failure in name resolution|NewConnectionError|Connection(Error| refused| broken)|'
     r'Network is unreachable|ProxyError|ReadTimeout|timed out|SSLError', 'The package index could '
     'not be reached: check the network (HTTPS_PROXY, pip config), or give a folder of wheels: '
     'WHEELS=folder.'),
    (r'No matching distribution|Could not find a version', 'The package index has no such version '
     'for this Python and platform: check `pip config list`, or try another of PYTHON=python3.10, '
     'python3.11, python3.12.'),
)  # fmt: skip
COMPILED = re.compile(r'\[\d+/\d+\]')  # progress of ninja


class CommandError(Exception):
    """A command failed; the message is for the user."""


def run_command(command: list, title: str, log: Path, env: dict | None = None, cwd=None) -> None:
    """Run a command with its output in a log, and print its duration and progress.

    Raises:
        CommandError: It failed; the message has the last lines, the log and a remedy.
    """
    started = shown = time.monotonic()
    print(f'{title} ...', flush=True)
    command = list(map(str, command))
    with open(log, 'w', encoding='utf-8') as output:
        try:
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env, cwd=cwd,
                text=True, encoding='utf-8', errors='replace',
            )  # fmt: skip
        except OSError as error:
            raise CommandError(failure(command, log, str(error))) from error
        try:
            for line in process.stdout:
                output.write(line)
                progress = COMPILED.search(line)
                if progress and time.monotonic() - shown > 5:
                    shown = time.monotonic()
                    print(f'{title}: {progress[0]}, {shown - started:.0f} s', flush=True)
        except BaseException:
            process.terminate()
            raise
        finally:
            process.wait()
    if process.returncode:
        raise CommandError(failure(command, log, log.read_text(encoding='utf-8')))
    print(f'{title}: done in {time.monotonic() - started:.0f} s', flush=True)


def failure(command: list, log: Path, text: str) -> str:
    """The last lines of the output, the command, the log and a remedy."""
    lines = [line for line in text.replace('\r', '\n').splitlines() if line.strip()]
    shown = '\n'.join(f'    {line[:200]}' for line in lines[-20:])
    return (
        f'{shown}\n\ncommand: {shlex.join(command)}\n'
        f'whole output: {log}\nremedy: {remedy_for(text)}'
    )


def remedy_for(text: str) -> str:
    """The remedy for a failure, by the output of the command."""
    for pattern, remedy in REMEDIES:
        if re.search(pattern, text):
            return remedy
    return 'The output above names the cause. After mending it, the same command goes on here.'


def with_first_on_path(env: dict, folder: Path) -> dict:
    """A copy of environment variables with a folder first in PATH."""
    return {**env, 'PATH': os.pathsep.join([str(Path(folder).absolute()), env.get('PATH', '')])}
