"""Create .venv with pinned packages, and skip steps that are up to date.

Standard library only. Each step leaves a stamp in the environment: a hash of its inputs and those
of the steps before it.
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

# also when run through a link in an editable install
sys.path.insert(0, str(Path(__file__).resolve().parent))
from long_command import CommandError, run_command, with_first_on_path

ROOT = Path(__file__).resolve().parent.parent
SUPPORTED = ((3, 10), (3, 11), (3, 12))
STAMPS = 'mmovsam-set-up.json'


@dataclass
class Step:
    """A command of the set-up and its inputs."""

    name: str
    command: list
    inputs: list = field(default_factory=list)  # files and strings
    about: str = ''


class SetUpError(Exception):
    """A step failed; the message is for the user."""


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--venv', type=Path, default=ROOT / '.venv')
    parser.add_argument(
        '--follow-python', action='store_true', help='recreate an environment of another Python'
    )
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
    version = venv_version(venv)
    missing = version and not venv_python(venv).exists()
    if missing or (version and follow_python and version != current):
        state = 'gone' if missing else f'{show(version)}, asked for is {show(current)}'
        print(f'the Python of {venv} is {state}: making the environment anew')
        shutil.rmtree(venv)
        version = None
    check_python(version or current, venv)
    run_steps(steps(venv, version or current), venv)


def steps(venv: Path, version: tuple) -> list:
    """The steps of the set-up, in order."""
    python = str(venv_python(venv))
    wheels = os.environ.get('WHEELS') or os.environ.get('MMOVSAM_WHEELS')
    links = ['--find-links', str(Path(wheels).expanduser().resolve())] if wheels else []
    pip = [python, '-m', 'pip', 'install', '--disable-pip-version-check', '--no-input', *links]
    index = os.environ.get('TORCH_INDEX')
    names = ('torch', 'build', 'runtime', 'test')
    files = {name: ROOT / 'requirements' / f'{name}.txt' for name in names}
    pins = ['-c', str(files['torch']), '-c', str(files['build'])]

    def install(name, *options):
        return [*pip, *options, *pins, '-r', str(files[name])]

    build_mmcv = ROOT / 'tools' / 'build_mmcv.py'
    linked = [path for folder in ('tools', 'configs') for path in (ROOT / folder).rglob('*.py')]
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
              ROOT / 'mmovsam' / 'version.py', str(ROOT), *sorted(map(str, linked))]),
    ]  # fmt: skip


def run_steps(todo: list, venv: Path) -> None:
    """Run the steps whose stamp is missing or different."""
    path = venv / STAMPS
    try:
        stamps = dict(json.loads(path.read_text(encoding='utf-8')))
    except (OSError, ValueError, TypeError):
        stamps = {}
    digest = hashlib.sha256()
    due = []
    for step in todo:
        for value in (step.name, *step.inputs):
            content = value.read_bytes() if isinstance(value, Path) else str(value).encode()
            digest.update(hashlib.sha256(content).digest())
        if stamps.get(step.name) != digest.hexdigest():
            due.append((step, digest.hexdigest()))
    for number, (step, stamp) in enumerate(due, 1):
        run_step(step, f'[{number}/{len(due)}] {step.name}', venv)
        stamps[step.name] = stamp
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
    """Reject versions of Python for which there are no pinned packages."""
    if tuple(version) in SUPPORTED:
        return
    installed = [name for name in ('python3.11', 'python3.12', 'python3.10') if shutil.which(name)]
    hint = f'PYTHON={installed[0]}' if installed else 'an installed one with PYTHON=python3.11'
    raise SetUpError(f'{where} is Python {show(version)}, needed is 3.10 to 3.12: give {hint}')


def lock(path: Path):
    """Lock a file, waiting for other set-ups; the process frees it."""
    stream = open(path, 'w')  # noqa: SIM115  closed by the caller
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        print('another set-up of this folder is running: waiting for it', flush=True)
        fcntl.flock(stream, fcntl.LOCK_EX)
    return stream


def venv_python(venv: Path) -> Path:
    return venv.absolute() / 'bin' / 'python'


def venv_version(venv: Path):
    """The version of Python of an environment, or None."""
    try:
        text = (venv / 'pyvenv.cfg').read_text(encoding='utf-8')
    except OSError:
        return None
    match = re.search(r'^version(?:_info)?\s*=\s*(\d+)\.(\d+)', text, re.MULTILINE)
    return (int(match[1]), int(match[2])) if match else None


def show(version) -> str:
    return '.'.join(map(str, version[:2]))


if __name__ == '__main__':
    sys.exit(main())
