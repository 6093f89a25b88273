"""Build mmcv's compiled operators for this environment's PyTorch, and install them.

    python tools/build_mmcv.py          with the Python of the environment

There is no wheel of mmcv for a current PyTorch. Its own build reads PyTorch's headers 77 times,
about 25 minutes on two cores; here its C++ files are joined into a few, which takes about 2
minutes. Where that fails it is built file by file. It gets CUDA operators where PyTorch has CUDA,
nvcc is of the same version and a GPU is there (or TORCH_CUDA_ARCH_LIST is set), else operators for
the CPU alone.
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

# beside this file also where a pointer of an editable install runs it
sys.path.insert(0, str(Path(__file__).resolve().parent))
from long_command import CommandError, duration, report, run_command, with_first_on_path
from mmcv_sources import SourceError, unite, unpack, use_standard_of

DISTRIBUTIONS = {'openmmlab': ('mmcv', '2.1.0'), 'onedl': ('onedl-mmcv', '2.3.6')}
MODULE_VERSIONS = {'openmmlab': ((2, 0), (2, 2)), 'onedl': ((2, 3), (3, 0))}  # from, below
# they provide the same modules, so one of them tells which family an environment has
FAMILY_OF = {
    'mmcv': 'openmmlab', 'mmcv-lite': 'openmmlab', 'mmdet': 'openmmlab', 'mmengine': 'openmmlab',
    'onedl-mmcv': 'onedl', 'onedl-mmdetection': 'onedl', 'onedl-mmengine': 'onedl',
}  # fmt: skip
BUILD_TOOLS = ('setuptools>=80,<81', 'wheel', 'ninja', 'psutil', 'packaging')
NUM_UNITED = 8
MEMORY_OF_A_COMPILER = 2.5  # GB
PROBE = f"""
import importlib.metadata, json, sysconfig
found = dict(site=sysconfig.get_path('platlib'), installed=[
    name for name in {tuple(FAMILY_OF)!r}
    if list(importlib.metadata.distributions(name=name))])
try:
    import torch
    found.update(torch=str(torch.__version__), cuda=torch.version.cuda,
                 torch_folder=torch.__path__[0],
                 gpus=[list(torch.cuda.get_device_capability(number))
                       for number in range(torch.cuda.device_count())])
except Exception as error:
    found.update(torch=None, error=str(error))
print(json.dumps(found))
"""
TRIAL = """
import sys, torch, mmcv
from mmcv.ops import get_compiling_cuda_version, nms
boxes = torch.tensor([[0., 0., 9., 9.], [0., 0., 9., 8.], [20., 20., 30., 30.]])
assert nms(boxes, torch.tensor([.9, .8, .7]), .5)[1].tolist() == [0, 2]
print(mmcv.__version__, get_compiling_cuda_version() != 'not available')
"""


class BuildError(Exception):
    """It cannot be built; the message is for the user."""


@dataclass(frozen=True)
class Operators:
    """Which operators are built, and why.

    Attributes:
        cuda: Whether with CUDA operators.
        reason: A sentence for the user.
    """

    cuda: bool
    reason: str


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--family', choices=sorted(DISTRIBUTIONS), help='mmcv, or the maintained '
                        'onedl-mmcv; by default of what the environment has')  # fmt: skip
    parser.add_argument('--operators', choices=('cpu', 'cuda'), help='in place of the choice above')
    parser.add_argument('--find-links', metavar='FOLDER', help='a folder with wheels, or with the '
                        'source package')  # fmt: skip
    parser.add_argument('--no-deps', action='store_true', help='install nothing that mmcv needs')
    parser.add_argument('--force', action='store_true', help='compile even if a fitting one exists')
    args = parser.parse_args(argv)
    try:
        build(args)
    except (BuildError, CommandError, SourceError) as error:
        print(f'\nbuild_mmcv stopped: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('\nbuild_mmcv stopped.', file=sys.stderr)
        return 130
    return 0


def build(args) -> None:
    """Bring a fitting mmcv into the environment: the one it has, a wheel, or a new build.

    Raises:
        BuildError: It cannot be done here.
        CommandError: A command failed.
    """
    found = json.loads(
        subprocess.run([sys.executable, '-c', PROBE], stdout=subprocess.PIPE, check=True).stdout
    )
    if not found['torch']:
        raise BuildError(
            f'{sys.executable} has no PyTorch that can be imported ({found["error"]}), and mmcv is '
            f'compiled for one: {sys.executable} -m pip install torch torchvision'
        )
    family = choose_family(found['installed'], args.family)
    name, version = DISTRIBUTIONS[family]
    operators = choose_operators(found, nvcc_version(), args.operators)
    print(f'{name} {version} for PyTorch {found["torch"]}: {operators.reason}', flush=True)
    place = Path(found['site'], 'mmcv')
    if not args.force and fits(family, operators):
        print(f'The mmcv of this environment fits, nothing to do: {place}')
        return

    pip = [sys.executable, '-m', 'pip', '--disable-pip-version-check', '--no-input']
    links = ['--find-links', args.find_links] if args.find_links else []
    install = [*pip, 'install', *links, *(['--no-deps'] if args.no_deps else [])]
    if 'mmcv-lite' in found['installed']:
        subprocess.run([*pip, 'uninstall', '-q', '-y', 'mmcv-lite'], check=False)
    kept = wheel_folder(found, name, version, operators)
    done = f'{name} {version} with {"CUDA and " * operators.cuda}CPU operators is in {place}'
    with tempfile.TemporaryDirectory(prefix='build-mmcv-') as folder:
        folder = Path(folder)
        wheels = []
        if not args.force:
            wheels += sorted(kept.glob('*.whl')) if kept else []
            wheels += download_wheels(pip, links, f'{name}=={version}', folder)
        for wheel in wheels:
            if install_fitting(install, wheel, folder, family, operators):
                print(f'{done}, from the wheel {wheel}')
                return
        archive, env = prepare(pip, links, f'{name}=={version}', found, operators, folder)
        try:
            wheel = compile_wheel(archive, folder / 'united', found, env, united=True)
            failed = not install_fitting(install, wheel, folder, family, operators)
        except (SourceError, CommandError) as error:
            print(error)
            failed = True
        if failed:
            print('The fast build failed, as the lines above say. Building file by file, about 25 '
                  'minutes on two cores.', flush=True)  # fmt: skip
            wheel = compile_wheel(archive, folder / 'ordinary', found, env, united=False)
            if not install_fitting(install, wheel, folder, family, operators):
                raise BuildError(
                    f'{wheel.name} was built and does not run, as the lines above say.'
                )
        if kept:
            done += f'; its wheel, for other environments: {keep(wheel, kept)}'
    print(done)


def choose_family(installed: list, wanted: str | None) -> str:
    """The family of packages whose mmcv goes into an environment.

    Args:
        installed: Names of the OpenMMLab packages that it has, of either family.
        wanted: What the user asked for, if anything.

    Raises:
        BuildError: The environment has packages of the other family, or of both.
    """
    families = {FAMILY_OF[name] for name in installed}
    if len(families) > 1:
        raise BuildError(
            f'This environment has packages of both families, {", ".join(installed)}, which '
            'overwrite each other. Uninstall all of them, then install one family.'
        )
    family = wanted or next(iter(families), 'openmmlab')
    if families - {family}:
        raise BuildError(
            f'{DISTRIBUTIONS[family][0]} would overwrite packages that this environment has '
            f'({", ".join(installed)}). Uninstall these first, or leave out --family.'
        )
    return family


def choose_operators(found: dict, nvcc: str | None, wanted: str | None) -> Operators:
    """Whether CUDA operators are built.

    Args:
        found: `torch`, its version; `cuda`, the version of CUDA that it is built with or None;
            `gpus`, the compute capabilities of those that it sees.
        nvcc: The version of the compiler, or None.
        wanted: 'cpu', 'cuda' or None.

    Raises:
        BuildError: CUDA was asked for and cannot be had.
    """
    cuda = found['cuda']
    if wanted == 'cpu':
        return Operators(False, 'CPU operators, as asked')
    if cuda is None:
        obstacle = 'this PyTorch is built without CUDA'
    elif nvcc is None:
        obstacle = (
            f'there is no nvcc in PATH or CUDA_HOME. For CUDA operators install the toolkit of '
            f'CUDA {cuda} and run this again'
        )
    elif nvcc.split('.')[0] != cuda.split('.')[0]:
        obstacle = (
            f'nvcc is of CUDA {nvcc} and PyTorch of CUDA {cuda}. For CUDA operators install the '
            f'toolkit of CUDA {cuda} and run this again'
        )
    elif not found['gpus'] and 'TORCH_CUDA_ARCH_LIST' not in os.environ:
        obstacle = (
            'PyTorch sees no GPU here. To build for GPUs of another machine, name their compute '
            'capability: TORCH_CUDA_ARCH_LIST=9.0'
        )
    else:
        return Operators(True, f'CUDA operators, by nvcc {nvcc}')
    if wanted == 'cuda':
        raise BuildError(f'CUDA operators cannot be built: {obstacle}.')
    return Operators(False, f'CPU operators, since {obstacle}')


def nvcc_version() -> str | None:
    """The version of nvcc as '13.0', or None where there is none."""
    home = os.environ.get('CUDA_HOME') or os.environ.get('CUDA_PATH')
    nvcc = shutil.which('nvcc', path=home and os.path.join(home, 'bin')) or shutil.which('nvcc')
    if nvcc is None:
        return None
    done = subprocess.run([nvcc, '--version'], capture_output=True, text=True)
    release = re.search(r'release (\d+\.\d+)', done.stdout)
    return release and release[1]


def fits(family: str, operators: Operators, quiet: bool = True) -> bool:
    """Whether the environment's mmcv is of a family, and its operators run and are all there."""
    output = subprocess.DEVNULL if quiet else None
    done = subprocess.run(
        [sys.executable, '-c', TRIAL], stdout=subprocess.PIPE, stderr=output, text=True
    )
    if done.returncode:
        return False
    version, cuda = done.stdout.split()[-2:]
    version = tuple(map(int, version.split('.')[:2]))
    first, below = MODULE_VERSIONS[family]
    return first <= version < below and (cuda == 'True' or not operators.cuda)


def install_fitting(
    install: list, wheel: Path, folder: Path, family: str, operators: Operators
) -> bool:
    """Install a wheel, in place of an mmcv of the same version too; returns whether it fits."""
    log = folder / 'install.log'
    try:
        run_command([*install, '--force-reinstall', '--no-deps', wheel], 'installing', log)
        if '--no-deps' not in install:
            run_command([*install, wheel], 'installing what it needs', log)
    except CommandError as error:
        print(f'{wheel} cannot be installed:\n{error}', flush=True)
        return False
    if fits(family, operators, quiet=False):
        return True
    print(f'{wheel.name} does not run with this PyTorch or lacks operators.', flush=True)
    return False


def download_wheels(pip: list, links: list, requirement: str, folder: Path) -> list:
    """The wheel in a folder of the user or the package index, if there is one."""
    command = [*pip, 'download', '-q', '--no-deps', '--only-binary', ':all:', *links, '-d', folder]
    subprocess.run([*command, requirement], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return sorted(folder.glob('*.whl'))


def prepare(
    pip: list, links: list, requirement: str, found: dict, operators: Operators, folder: Path
) -> tuple:
    """Download the sources, and the build tools that the environment lacks.

    Returns:
        The archive of the sources, and the environment variables of the build.
    """
    env = build_environment(found, operators)
    log = folder / 'download.log'
    if not has_build_tools():
        tools = folder / 'build_tools'  # not into the environment, whose setuptools may be newer
        run_command([*pip, 'install', '--target', tools, *BUILD_TOOLS], 'build tools', log)
        env = with_first_on_path(env, tools / 'bin')
        env['PYTHONPATH'] = os.pathsep.join(filter(None, [str(tools), env.get('PYTHONPATH')]))
    command = [
        *pip,
        'download',
        '--no-deps',
        '--no-build-isolation',
        '--no-binary',
        ':all:',
        *links,
    ]
    run_command([*command, '-d', folder, requirement], 'sources', log, env)
    (archive,) = folder.glob('*.tar.gz')
    return archive, env


def compile_wheel(archive: Path, folder: Path, found: dict, env: dict, united: bool) -> Path:
    """Build a wheel.

    Args:
        archive: The sources.
        folder: A new one to build in.
        found: What the environment has.
        env: Environment variables.
        united: Whether the C++ files are joined into a few.

    Raises:
        CommandError: It does not compile.
        SourceError: The sources are not those that can be joined.
    """
    sources = unpack(archive, folder)
    title = 'compiling'
    if united:
        title = f'compiling {unite(sources, max(NUM_UNITED, int(env["MAX_JOBS"])))} joined files'
    use_standard_of(sources, found['torch_folder'])
    log = Path(tempfile.gettempdir(), f'build-mmcv-{os.getpid()}.log')
    command = [sys.executable, 'setup.py', 'bdist_wheel', '-d', 'wheel']
    seconds = run_command(command, title, log, env, sources)  # a failure leaves the log
    log.unlink()
    report(title, f'done in {duration(seconds)}')
    (wheel,) = (sources / 'wheel').glob('*.whl')
    return wheel


def build_environment(found: dict, operators: Operators) -> dict:
    """The environment variables of the build."""
    env = {**os.environ, 'MMCV_WITH_OPS': '1', 'FORCE_CUDA': str(int(operators.cuda))}
    # the compilers that Python was built with write debug information, most of what is written
    env['CFLAGS'] = f'{env.get("CFLAGS", "")} -g0'.strip()
    env.setdefault('MAX_JOBS', str(number_of_compilers()))
    if not operators.cuda:
        env['CUDA_VISIBLE_DEVICES'] = ''  # or a GPU without nvcc stops the build
        return env
    capabilities = sorted({'{}.{}'.format(*gpu) for gpu in found['gpus']})
    env.setdefault('TORCH_CUDA_ARCH_LIST', ';'.join(capabilities))
    # a toolkit from pip keeps some headers beside its libraries
    extra = sorted({str(path.parent) for path in Path(found['site'], 'nvidia').rglob('cusparse.h')})
    env['CPATH'] = os.pathsep.join(filter(None, [env.get('CPATH'), *extra]))
    return env


def number_of_compilers() -> int:
    """How many run at a time: one a core, as far as the memory goes."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    try:
        memory = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30
    except (AttributeError, ValueError, OSError):
        return cores or 1
    return max(1, min(cores or 1, int(memory / MEMORY_OF_A_COMPILER)))


def has_build_tools() -> bool:
    """Whether the environment has what mmcv's setup script imports."""
    code = 'import ninja, packaging, pkg_resources, psutil, setuptools, wheel'
    command = [sys.executable, '-W', 'ignore', '-c', code]
    return subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0


def wheel_folder(found: dict, name: str, version: str, operators: Operators) -> Path | None:
    """Where the wheel for such an environment is kept; None with MMOVSAM_CACHE=off."""
    value = os.environ.get('MMOVSAM_CACHE', '')
    if value.lower() == 'off':
        return None
    home = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    folder = Path(value).expanduser() if value else Path(home, 'mmovsam')
    kind = 'cpu'
    if operators.cuda:
        gpus = sorted({'{}.{}'.format(*gpu) for gpu in found['gpus']})
        kind = f'cuda{os.environ.get("TORCH_CUDA_ARCH_LIST") or ";".join(gpus)}'
    parts = [name, version, f'python{sys.version_info[0]}.{sys.version_info[1]}',
             platform.machine(), f'torch{found["torch"]}', kind]  # fmt: skip
    return folder / 'wheels' / re.sub(r'[^\w.+-]', '_', '-'.join(parts))


def keep(wheel: Path, folder: Path) -> Path:
    """Copy a wheel into the cache, whole or not at all; returns the copy, or it if that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = shutil.copy2(wheel, folder / f'.{os.getpid()}.tmp')
        return Path(os.replace(temporary, folder / wheel.name) or folder / wheel.name)
    except OSError as error:
        print(f'The wheel is not kept: {error}')
        return wheel


if __name__ == '__main__':
    sys.exit(main())
