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
import sys
from dataclasses import dataclass, field
from pathlib import Path

# beside this file also where a pointer of an editable install runs it
sys.path.insert(0, str(Path(__file__).resolve().parent))
from long_command import CommandError, run_command, with_first_on_path

ROOT = Path(__file__).resolve().parent.parent
SUPPORTED = ((3, 10), (3, 11), (3, 12))
STAMPS = 'mmovsam-set-up.json'


@dataclass
class Step:
    """One command of the set-up, and what its result depends on."""

    name: str
    command: list
    inputs: list = field(default_factory=list)  # files and texts
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
    current = sys.version_info[:2]
    made_with = venv_version(venv)
    gone = made_with and not venv_python(venv).exists()
    if gone or (made_with and follow_python and made_with != current):
        why = 'gone' if gone else f'{show(made_with)}, asked for is {show(current)}'
        print(f'the Python of {venv} is {why}: making the environment anew')
        shutil.rmtree(venv)
        made_with = None
    check_python(made_with or current, venv)
    run_steps(steps(venv, made_with or current), venv)


def steps(venv: Path, version: tuple) -> list:
    """The steps of the set-up, in order."""
    python = str(venv_python(venv))
    wheels = os.environ.get('WHEELS') or os.environ.get('MMOVSAM_WHEELS')
    links = ['--find-links', str(Path(wheels).expanduser().resolve())] if wheels else []
    pip = [python, '-m', 'pip', 'install', '--disable-pip-version-check', '--no-input', *links]
    index = os.environ.get('TORCH_INDEX')
    files = {name: ROOT / 'requirements' / f'{name}.txt'
             for name in ('torch', 'build', 'runtime', 'test')}  # fmt: skip
    pins = ['-c', str(files['torch']), '-c', str(files['build'])]

    def install(name, *options):
        return [*pip, *options, *pins, '-r', str(files[name])]

    build_mmcv = ROOT / 'tools' / 'build_mmcv.py'
    pointed_at = [path for folder in ('tools', 'configs') for path in (ROOT / folder).rglob('*.py')]
    return [
        Step('environment', [sys.executable, '-m', 'venv', str(venv)], [show(version)]),
        Step('PyTorch', install('torch', *(['--extra-index-url', index] if index else [])),
             [files['torch']]),
        Step('build tools', install('build'), [files['build']]),
        Step('libraries', [*install('runtime'), '-r', str(files['test'])],
             [files['runtime'], files['test']]),
        Step('mmcv', [python, str(build_mmcv), '--no-deps', *links], [build_mmcv],
             'there is no wheel for this PyTorch: unless one was built before, it is compiled now, '
             'about 2 minutes on two cores'),
        Step('mmovsam', [*pip, '--no-deps', '--no-build-isolation', '-e', str(ROOT)],
             [ROOT / 'setup.py', ROOT / 'pyproject.toml', ROOT / 'model-index.yml',
              ROOT / 'mmovsam' / 'version.py', str(ROOT), *sorted(map(str, pointed_at))]),
    ]  # fmt: skip


def run_steps(todo: list, venv: Path) -> None:
    """Run the steps whose stamp is missing or of another hash."""
    path = venv / STAMPS
    try:
        stamps = dict(json.loads(path.read_text(encoding='utf-8')))
    except (OSError, ValueError, TypeError):
        stamps = {}
    digest = hashlib.sha256()
    due = []
    for step in todo:
        for part in (step.name, *step.inputs):
            content = part.read_bytes() if isinstance(part, Path) else str(part).encode()
            digest.update(hashlib.sha256(content).digest())
        if stamps.get(step.name) != digest.hexdigest():
            due.append((step, digest.hexdigest()))
    for number, (step, mark) in enumerate(due, 1):
        run_step(step, f'[{number}/{len(due)}] {step.name}', venv)
        stamps[step.name] = mark
        temporary = path.with_suffix('.tmp')
        temporary.write_text(json.dumps(stamps, indent=1), encoding='utf-8')
        os.replace(temporary, path)
    if due:
        print(f'{venv} is ready')


def run_step(step: Step, title: str, venv: Path) -> None:
    """Run the command of one step.

    Raises:
        SetUpError: It failed.
    """
    if step.about:
        print(f'{title}: {step.about}')
    env = with_first_on_path(dict(os.environ), venv / 'bin')
    env.pop('PYTHONHOME', None)
    try:
        run_command(step.command, title, venv.parent / f'{venv.name}-set-up.log', env)
    except CommandError as error:
        raise SetUpError(f'step {step.name!r} failed\n{error}') from error


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


def show(version) -> str:
    return '.'.join(map(str, version[:2]))


if __name__ == '__main__':
    sys.exit(main())
