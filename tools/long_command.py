"""Run commands that take minutes: output in a log, progress on the screen, remedies for failures.

Standard library only: `set_up.py` and `build_mmcv.py` use it before anything is installed.
"""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

REMEDIES = (  # (what the output says, what to do), first match wins
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


class CommandError(Exception):
    """A command failed; the message is for the user."""


def run_command(command: list, title: str, log: Path, env: dict | None = None, cwd=None) -> float:
    """Run a command with its output in a log, showing how long it has been running.

    Args:
        command: Program and arguments.
        title: What the lines on the screen begin with.
        log: The file that its output is written to.
        env: Its environment; that of this process if None.
        cwd: Its folder; that of this process if None.

    Returns:
        Seconds that it took.

    Raises:
        CommandError: It failed; the message has its last lines, the log and a remedy.
    """
    started = time.monotonic()
    with open(log, 'wb') as output:
        try:
            process = subprocess.Popen(command, stdout=output, stderr=output, env=env, cwd=cwd)
        except OSError as error:
            raise CommandError(failure(command, log, str(error))) from error
        try:
            watch(process, title, log, started)
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if process.returncode:
        end_line()
        raise CommandError(failure(command, log, log.read_text(encoding='utf-8', errors='replace')))
    return time.monotonic() - started


def watch(process: subprocess.Popen, title: str, log: Path, started: float) -> None:
    """Wait for a process, showing progress.

    On a terminal one line is rewritten every second. Elsewhere a line is added when files were
    compiled, at most every five seconds, and at least every half minute.
    """
    live = sys.stdout.isatty()
    last, shown = started, ''
    while process.poll() is None:
        time.sleep(0.1)
        now = time.monotonic()
        if now - last < (1 if live else 5):
            continue
        compiled = progress(log)
        if live or compiled != shown or now - last >= 30:
            last, shown = now, compiled
            report(title, f'{compiled}{duration(now - started)}', '' if live else '\n')


def progress(log: Path) -> str:
    """What ninja, or a command that watches it, said last, as 'file 12 of 77, '."""
    with open(log, 'rb') as stream:
        stream.seek(max(0, log.stat().st_size - 65536))
        found = re.findall(rb'\[(\d+)/(\d+)\]|file (\d+) of (\d+),', stream.read())
    if not found:
        return ''
    return 'file {} of {}, '.format(*(part.decode() for part in found[-1] if part))


def report(title: str, text: str, end: str = '\n') -> None:
    """Show a line of progress, in place of the last one on a terminal."""
    start = '\r\033[K' if sys.stdout.isatty() else ''
    print(f'{start}{title}: {text}', end=end, flush=True)


def end_line() -> None:
    """End the line of progress of a terminal."""
    if sys.stdout.isatty():
        print()


def failure(command: list, log: Path, text: str) -> str:
    """What went wrong, where to read on, and what to do about it."""
    lines = [line for line in text.replace('\r', '\n').splitlines() if line.strip()]
    shown = '\n'.join(f'    {line[:200]}' for line in lines[-20:])
    return (
        f'{shown}\n\ncommand: {" ".join(map(repr_if_needed, command))}\n'
        f'whole output: {log}\nremedy: {remedy_for(text)}'
    )


def remedy_for(text: str) -> str:
    """What to do about a failure, by what the command printed."""
    for pattern, remedy in REMEDIES:
        if re.search(pattern, text):
            return remedy
    return 'The output above names the cause. After mending it, the same command goes on here.'


def with_first_on_path(env: dict, folder: Path) -> dict:
    """A copy of an environment whose programs come from a folder first."""
    path = os.pathsep.join([str(Path(folder).absolute()), env.get('PATH', '')])
    return {**env, 'PATH': path}


def duration(seconds: float) -> str:
    """Seconds as '14 min 0 s'."""
    minutes, seconds = divmod(round(seconds), 60)
    return f'{minutes} min {seconds} s' if minutes else f'{seconds} s'


def repr_if_needed(text) -> str:
    """A word of a command line, quoted where a shell wants it."""
    text = str(text)
    return text if re.fullmatch(r'[\w@%+=:,./-]+', text) else repr(text)
