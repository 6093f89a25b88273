"""Make .venv with a pinned set of packages that work together; skip what is up to date.

Runs on a bare Python: standard library only. Each step leaves a stamp in the environment, a hash
of all that the step and those before it depend on.
"""

import argparse
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUPPORTED = ((3, 10), (3, 11), (3, 12))
STAMPS = 'mmovsam-set-up.json'
REMEDIES = (  # (what the output says, what to do), first match wins
    (r'No space left on device', 'The disk is full: free about 8 GB and run the command again.'),
    (r'ensurepip is not|No module named (venv|ensurepip)', 'Install the venv module of this '
     'Python (Debian and Ubuntu: apt-get install python3-venv), or give another one: PYTHON=...'),
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


@dataclass
class Step:
    """One command of the set-up, and what its result depends on."""

    name: str
    command: list
    inputs: list = field(default_factory=list)  # files and texts
    env: dict = field(default_factory=dict)
    about: str = ''


class SetUpError(Exception):
    """A step failed; the message is for the user."""


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--venv', type=Path, default=ROOT / '.venv')
    parser.add_argument('--follow-python', action='store_true', help='make the environment anew '
                        'if it is of another Python than the one that runs this')  # fmt: skip
    args = parser.parse_args(argv)
    try:
        check_python(sys.version_info[:2], sys.executable)
        with lock(args.venv.with_name(f'{args.venv.name}.lock')):
            set_up(args.venv, args.follow_python)
    except SetUpError as error:
        print(f'\nset-up stopped: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('\nset-up stopped. The next call goes on with the step that was running.')
        return 130
    return 0


def set_up(venv: Path, follow_python: bool = False) -> None:
    """Bring the environment up to date."""
    made_with = venv_version(venv)
    if made_with and follow_python and made_with != sys.version_info[:2]:
        print(f'{venv} is of Python {show(made_with)}, asked for is {show(sys.version_info[:2])}: '
              'making it anew')  # fmt: skip
        shutil.rmtree(venv)
        made_with = None
    elif made_with and not works(venv_python(venv)):
        print(f'the Python of {venv} is gone: making the environment anew')
        shutil.rmtree(venv)
        made_with = None
    check_python(made_with or sys.version_info[:2], venv)
    run_steps(steps(venv, made_with or sys.version_info[:2]), venv)


def steps(venv: Path, version: tuple) -> list:
    """The steps of the set-up, in order."""
    python = str(venv_python(venv))
    pip = [python, '-m', 'pip', 'install', '--disable-pip-version-check', '--no-input']
    wheels = os.environ.get('WHEELS') or os.environ.get('MMOVSAM_WHEELS')
    if wheels:
        pip += ['--find-links', str(Path(wheels).expanduser().resolve())]
    index = os.environ.get('TORCH_INDEX')
    files = {name: ROOT / 'requirements' / f'{name}.txt'
             for name in ('torch', 'build', 'runtime', 'test', 'mmcv')}  # fmt: skip
    pins = ['-c', str(files['torch']), '-c', str(files['build'])]

    def install(name, *options):
        return [*pip, *options, *pins, '-r', str(files[name])]

    fit = 'import torch, mmcv.ops'  # a wheel that pip cached may be of another torch
    mmcv = install('mmcv', '--no-build-isolation', '-v')
    rebuild = [*mmcv, '--no-cache-dir', '--force-reinstall', '--no-deps']
    return [
        Step('environment', [sys.executable, '-m', 'venv', str(venv)], [show(version)]),
        Step('PyTorch', install('torch', *(['--extra-index-url', index] if index else [])),
             [files['torch']]),
        Step('build tools', install('build'), [files['build']]),
        Step('libraries', [*install('runtime'), '-r', str(files['test'])],
             [files['runtime'], files['test']]),
        Step('mmcv', mmcv, [files['mmcv']], {'MMCV_WITH_OPS': '1'},
             'no wheel exists for this PyTorch: unless pip has one it built before, it is '
             'compiled now, about 15 minutes on two cores'),
        Step('mmcv fits PyTorch',
             [python, '-c', 'import subprocess, sys\n'
              f'if subprocess.call([sys.executable, "-c", {fit!r}]):\n'
              f'    sys.exit(subprocess.call({rebuild!r}))'], [fit], {'MMCV_WITH_OPS': '1'}),
        Step('mmovsam', [*pip, '--no-deps', '--no-build-isolation', '-e', str(ROOT)],
             [ROOT / 'setup.py', ROOT / 'pyproject.toml', ROOT / 'model-index.yml',
              ROOT / 'mmovsam' / 'version.py', str(ROOT), *names(ROOT / 'tools'),
              *names(ROOT / 'configs')]),
    ]  # fmt: skip


def run_steps(todo: list, venv: Path) -> None:
    """Run the steps whose stamp is missing or of another hash."""
    path = venv / STAMPS
    stamps = read_stamps(path)
    digest = hashlib.sha256()
    chain = []
    for step in todo:
        for part in (step.name, *step.inputs):
            content = part.read_bytes() if isinstance(part, Path) else str(part).encode()
            digest.update(hashlib.sha256(content).digest())
        chain.append((step, digest.hexdigest()))
    due = [number for number, (step, mark) in enumerate(chain) if stamps.get(step.name) != mark]
    for position, number in enumerate(due, 1):
        step, mark = chain[number]
        run_step(step, f'[{position}/{len(due)}] {step.name}', venv)
        stamps[step.name] = mark
        write_stamps(path, stamps)
    if due:
        print(f'{venv} is ready')


def run_step(step: Step, title: str, venv: Path) -> None:
    """Run one command with its output in a log, showing how long it has been running."""
    log = venv.parent / f'{venv.name}-set-up.log'
    if step.about:
        print(f'{title}: {step.about}')
    env = {**os.environ, **step.env}
    env['PATH'] = os.pathsep.join([str((venv / 'bin').resolve()), env.get('PATH', '')])
    env.pop('PYTHONHOME', None)
    started = time.monotonic()
    with open(log, 'wb') as output:
        try:
            process = subprocess.Popen(step.command, stdout=output, stderr=output, env=env)
        except OSError as error:
            raise SetUpError(failure(step, log, str(error))) from error
        try:
            watch(process, title, log, started)
        except KeyboardInterrupt:
            process.terminate()
            process.wait()
            raise
    if process.returncode:
        text = log.read_text(encoding='utf-8', errors='replace')
        raise SetUpError(failure(step, log, text))
    report(title, f'done in {duration(time.monotonic() - started)}', end='\n')


def watch(process, title: str, log: Path, started: float) -> None:
    """Wait for a process; on a terminal every second, elsewhere every half minute, say so."""
    live = sys.stdout.isatty()
    last = started
    while process.poll() is None:
        time.sleep(0.1)
        now = time.monotonic()
        if now - last >= (1 if live else 30):
            last = now
            report(title, f'{progress(log)}{duration(now - started)}', '' if live else '\n')


def progress(log: Path) -> str:
    """What ninja said last, as 'file 12 of 77, '."""
    with open(log, 'rb') as stream:
        stream.seek(max(0, log.stat().st_size - 65536))
        found = re.findall(rb'\[(\d+)/(\d+)\]', stream.read())
    return 'file {} of {}, '.format(*(part.decode() for part in found[-1])) if found else ''


def report(title: str, text: str, end: str) -> None:
    start = '\r\033[K' if sys.stdout.isatty() else ''
    print(f'{start}{title}: {text}', end=end, flush=True)


def failure(step: Step, log: Path, text: str) -> str:
    """What went wrong, where to read on, and what to do about it."""
    lines = [line for line in text.replace('\r', '\n').splitlines() if line.strip()]
    shown = '\n'.join(f'    {line[:200]}' for line in lines[-20:])
    remedy = remedy_for(text)
    command = ' '.join(map(repr_if_needed, step.command))
    return (
        f'step {step.name!r} failed\n{shown}\n\ncommand: {command}\n'
        f'whole output: {log}\nremedy: {remedy}'
    )


def remedy_for(text: str) -> str:
    """What to do about a failure, by what the command printed."""
    for pattern, remedy in REMEDIES:
        if re.search(pattern, text):
            return remedy
    return 'The output above names the cause. After mending it, the same command goes on here.'


def check_python(version: tuple, where) -> None:
    """Refuse a Python that the pinned packages do not exist for."""
    if tuple(version) in SUPPORTED:
        return
    others = [name for name in ('python3.11', 'python3.12', 'python3.10') if shutil.which(name)]
    hint = f'PYTHON={others[0]}' if others else 'an installed one with PYTHON=python3.11'
    raise SetUpError(f'{where} is Python {show(version)}, needed is 3.10 to 3.12: give {hint}')


def lock(path: Path):
    """A file that only one set-up at a time can hold; it is freed with the process."""
    stream = open(path, 'w')  # noqa: SIM115  it is closed by the caller's with
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        print('another set-up of this folder is running: waiting for it', flush=True)
        fcntl.flock(stream, fcntl.LOCK_EX)
    return stream


def names(folder: Path) -> list:
    """The files of a folder that the pointers for mim depend on."""
    return sorted(str(path.relative_to(ROOT)) for path in folder.glob('**/*.py'))


def venv_python(venv: Path) -> Path:
    return venv.absolute() / 'bin' / 'python'


def venv_version(venv: Path):
    """The version of Python that an environment was made with, or None."""
    try:
        text = (venv / 'pyvenv.cfg').read_text(encoding='utf-8')
    except OSError:
        return None
    found = re.search(r'^version(?:_info)?\s*=\s*(\d+)\.(\d+)', text, re.MULTILINE)
    return (int(found[1]), int(found[2])) if found else None


def works(python: Path) -> bool:
    """Whether an environment's Python still points to an interpreter."""
    return python.exists()


def read_stamps(path: Path) -> dict:
    try:
        stamps = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return {}
    return stamps if isinstance(stamps, dict) else {}


def write_stamps(path: Path, stamps: dict) -> None:
    temporary = path.with_suffix('.tmp')
    temporary.write_text(json.dumps(stamps, indent=1), encoding='utf-8')
    os.replace(temporary, path)


def show(version) -> str:
    return '.'.join(map(str, version[:2]))


def duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f'{minutes} min {seconds} s' if minutes else f'{seconds} s'


def repr_if_needed(text) -> str:
    text = str(text)
    return text if re.fullmatch(r'[\w@%+=:,./-]+', text) else repr(text)


if __name__ == '__main__':
    sys.exit(main())
