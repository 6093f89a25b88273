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
import tarfile
import tempfile
from pathlib import Path

# beside this file also where a pointer of an editable install runs it
sys.path.insert(0, str(Path(__file__).resolve().parent))
from long_command import CommandError, run_command, with_first_on_path

DISTRIBUTIONS = {'openmmlab': ('mmcv', '2.1.0'), 'onedl': ('onedl-mmcv', '2.3.6')}
MODULE_VERSIONS = {'openmmlab': ((2, 0), (2, 2)), 'onedl': ((2, 3), (3, 0))}  # from, below
# they provide the same modules, so one of them tells which family an environment has
FAMILY_OF = {
    'mmcv': 'openmmlab', 'mmcv-lite': 'openmmlab', 'mmdet': 'openmmlab', 'mmengine': 'openmmlab',
    'onedl-mmcv': 'onedl', 'onedl-mmdetection': 'onedl', 'onedl-mmengine': 'onedl',
}  # fmt: skip
BUILD_TOOLS = ('setuptools>=80,<81', 'wheel', 'ninja', 'psutil', 'packaging')
SOURCES = Path('mmcv', 'ops', 'csrc', 'pytorch')
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
                 gpus=sorted(set('%d.%d' % torch.cuda.get_device_capability(number)
                                 for number in range(torch.cuda.device_count()))))
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


class SourceError(Exception):
    """The sources are not laid out as a change of them expects."""


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
    """Bring a fitting mmcv into the environment: the one it has, a wheel, or a new build."""
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
    cuda, reason = choose_operators(found, nvcc_version(), args.operators)
    print(f'{name} {version} for PyTorch {found["torch"]}: {reason}', flush=True)
    place = Path(found['site'], 'mmcv')
    if not args.force and fits(family, cuda):
        print(f'The mmcv of this environment fits, nothing to do: {place}')
        return

    pip = [sys.executable, '-m', 'pip', '--disable-pip-version-check', '--no-input']
    links = ['--find-links', args.find_links] if args.find_links else []
    install = [*pip, 'install', *links, *(['--no-deps'] if args.no_deps else [])]
    if 'mmcv-lite' in found['installed']:
        subprocess.run([*pip, 'uninstall', '-q', '-y', 'mmcv-lite'], check=False)
    kept = wheel_folder(found, f'{name}-{version}', cuda)
    done = f'{name} {version} with {"CUDA and " * cuda}CPU operators is in {place}'
    with tempfile.TemporaryDirectory(prefix='build-mmcv-') as folder:
        folder = Path(folder)
        download = [*pip, 'download', *links, '--no-deps', '-d', folder, f'{name}=={version}']
        wheels = []
        if not args.force:
            wheels += sorted(kept.glob('*.whl')) if kept else []
            quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            subprocess.run([*download, '--only-binary', ':all:'], **quiet)
            wheels += sorted(folder.glob('*.whl'))
        for wheel in wheels:
            if install_fitting(install, wheel, folder, family, cuda):
                print(f'{done}, from the wheel {wheel}')
                return
        archive, env = prepare(pip, download, found, cuda, folder)
        for united in (True, False):
            try:
                wheel = compile_wheel(archive, folder, found, env, united)
                if install_fitting(install, wheel, folder, family, cuda):
                    break
                error = BuildError(f'{wheel.name} was built and does not run, see above.')
            except (SourceError, CommandError) as failed:
                error = failed
            if not united:
                raise error
            print(f'{error}\nThe fast build failed. Building file by file, about 25 minutes on two '
                  'cores.', flush=True)  # fmt: skip
        if kept:
            done += f'; its wheel, for other environments: {keep(wheel, kept)}'
    print(done)


def choose_family(installed: list, wanted: str | None) -> str:
    """The family of packages whose mmcv goes into an environment that has some installed.

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


def choose_operators(found: dict, nvcc: str | None, wanted: str | None) -> tuple:
    """Whether CUDA operators are built, and why, a sentence for the user.

    Args:
        found: `torch`, its version; `cuda`, the version of CUDA that it is built with or None;
            `gpus`, the compute capabilities of those that it sees.
        nvcc: The version of the compiler, or None.
        wanted: 'cpu', 'cuda' or None.

    Raises:
        BuildError: CUDA was asked for and cannot be had.
    """
    cuda = found['cuda']
    remedy = f'For CUDA operators install the toolkit of CUDA {cuda} and run this again'
    if wanted == 'cpu':
        return False, 'CPU operators, as asked'
    if cuda is None:
        obstacle = 'this PyTorch is built without CUDA'
    elif nvcc is None:
        obstacle = f'there is no nvcc in PATH or CUDA_HOME. {remedy}'
    elif nvcc.split('.')[0] != cuda.split('.')[0]:
        obstacle = f'nvcc is of CUDA {nvcc} and PyTorch of CUDA {cuda}. {remedy}'
    elif not found['gpus'] and 'TORCH_CUDA_ARCH_LIST' not in os.environ:
        obstacle = (
            'PyTorch sees no GPU here. To build for GPUs of another machine, name their compute '
            'capability: TORCH_CUDA_ARCH_LIST=9.0'
        )
    else:
        return True, f'CUDA operators, by nvcc {nvcc}'
    if wanted == 'cuda':
        raise BuildError(f'CUDA operators cannot be built: {obstacle}.')
    return False, f'CPU operators, since {obstacle}'


def nvcc_version() -> str | None:
    """The version of nvcc as '13.0', or None where there is none."""
    home = os.environ.get('CUDA_HOME') or os.environ.get('CUDA_PATH')
    nvcc = shutil.which('nvcc', path=home and os.path.join(home, 'bin')) or shutil.which('nvcc')
    if nvcc is None:
        return None
    done = subprocess.run([nvcc, '--version'], capture_output=True, text=True)
    release = re.search(r'release (\d+\.\d+)', done.stdout)
    return release and release[1]


def fits(family: str, cuda: bool, quiet: bool = True) -> bool:
    """Whether the environment's mmcv is of a family, and its operators run and are all there."""
    output = subprocess.DEVNULL if quiet else None
    done = subprocess.run(
        [sys.executable, '-c', TRIAL], stdout=subprocess.PIPE, stderr=output, text=True
    )
    if done.returncode:
        return False
    version, has_cuda = done.stdout.split()[-2:]
    version = tuple(map(int, version.split('.')[:2]))
    first, below = MODULE_VERSIONS[family]
    return first <= version < below and (has_cuda == 'True' or not cuda)


def install_fitting(install: list, wheel: Path, folder: Path, family: str, cuda: bool) -> bool:
    """Install a wheel, in place of an mmcv of the same version too; returns whether it fits."""
    log = folder / 'install.log'
    try:
        run_command([*install, '--force-reinstall', '--no-deps', wheel], 'installing', log)
        if '--no-deps' not in install:
            run_command([*install, wheel], 'installing what it needs', log)
    except CommandError as error:
        print(f'{wheel} cannot be installed:\n{error}', flush=True)
        return False
    if fits(family, cuda, quiet=False):
        return True
    print(f'{wheel.name} does not run with this PyTorch or lacks operators.', flush=True)
    return False


def prepare(pip: list, download: list, found: dict, cuda: bool, folder: Path) -> tuple:
    """Download the sources, and the build tools that the environment lacks.

    Returns:
        The archive of the sources, and the environment variables of the build.
    """
    env = build_environment(found, cuda)
    log = folder / 'download.log'
    imports = 'import ninja, packaging, pkg_resources, psutil, setuptools, wheel'
    command = [sys.executable, '-W', 'ignore', '-c', imports]
    if subprocess.run(command, stderr=subprocess.DEVNULL).returncode:
        tools = folder / 'build_tools'  # not into the environment, whose setuptools may be newer
        run_command([*pip, 'install', '--target', tools, *BUILD_TOOLS], 'build tools', log)
        env = with_first_on_path(env, tools / 'bin')
        env['PYTHONPATH'] = os.pathsep.join(filter(None, [str(tools), env.get('PYTHONPATH')]))
    only_sources = ['--no-build-isolation', '--no-binary', ':all:']
    run_command([*download, *only_sources], 'sources', log, env)
    (archive,) = folder.glob('*.tar.gz')
    return archive, env


def compile_wheel(archive: Path, folder: Path, found: dict, env: dict, united: bool) -> Path:
    """Build a wheel in a folder, the C++ files joined into a few (`united`) or one by one.

    Raises:
        CommandError: It does not compile.
        SourceError: The sources are not those that can be joined.
    """
    folder = folder / ('united' if united else 'ordinary')
    with tarfile.open(archive) as stream:
        stream.extractall(folder, **({'filter': 'data'} if hasattr(tarfile, 'data_filter') else {}))
    (sources,) = folder.iterdir()
    title = 'compiling'
    if united:
        title = f'compiling {unite(sources, max(NUM_UNITED, int(env["MAX_JOBS"])))} joined files'
    use_standard_of(sources, found['torch_folder'])
    log = Path(tempfile.gettempdir(), f'build-mmcv-{os.getpid()}.log')
    command = [sys.executable, 'setup.py', 'bdist_wheel', '-d', 'wheel']
    run_command(command, title, log, env, sources)  # a failure leaves the log
    log.unlink()
    (wheel,) = (sources / 'wheel').glob('*.whl')
    return wheel


def unite(sources: Path, number: int) -> int:
    """Join the C++ files of unpacked sources into `number` at most; returns how many there are.

    Files of CUDA define the same names and stay apart.
    """
    folder = sources / SOURCES
    files = [path for where in (folder, folder / 'cpu') for path in sorted(where.glob('*.cpp'))]
    if len(files) < 2:
        raise SourceError(f'{SOURCES} has {len(files)} C++ files, and many were expected.')
    number = min(number, len(files))
    for index in range(number):
        with (folder / f'united_{index}.cpp').open('x', encoding='utf-8') as stream:
            for path in files[index::number]:
                part = path.rename(path.with_name(f'{path.name}.part'))  # which no pattern finds
                stream.write(f'#include "{part.relative_to(folder).as_posix()}"\n')
    return number


def use_standard_of(sources: Path, torch_folder: str) -> None:
    """Let mmcv's setup script ask for the C++ standard that PyTorch's headers want."""
    header = Path(torch_folder, 'include', 'torch', 'csrc', 'api', 'include', 'torch', 'all.h')
    text = header.read_text(encoding='utf-8') if header.is_file() else ''
    wanted = re.search(r'C\+\+(\d\d) or later', text)
    if wanted is None or wanted[1] == '17':
        return
    script = sources / 'setup.py'
    text, count = re.subn(r"(?<=['/-]std[=:]c\+\+)17", wanted[1], script.read_text('utf-8'))
    if not count:
        raise SourceError(f'PyTorch wants C++{wanted[1]}, and the setup script names no C++17.')
    script.write_text(text, encoding='utf-8')


def build_environment(found: dict, cuda: bool) -> dict:
    """The environment variables of the build."""
    env = {**os.environ, 'MMCV_WITH_OPS': '1', 'FORCE_CUDA': str(int(cuda))}
    # the compilers that Python was built with write debug information, most of what is written
    env['CFLAGS'] = f'{env.get("CFLAGS", "")} -g0'.strip()
    env.setdefault('MAX_JOBS', str(number_of_compilers()))
    if not cuda:
        env['CUDA_VISIBLE_DEVICES'] = ''  # or a GPU without nvcc stops the build
        return env
    env.setdefault('TORCH_CUDA_ARCH_LIST', ';'.join(found['gpus']))
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


def wheel_folder(found: dict, name: str, cuda: bool) -> Path | None:
    """Where the wheel for such an environment is kept; None with MMOVSAM_CACHE=off."""
    value = os.environ.get('MMOVSAM_CACHE', '')
    if value.lower() == 'off':
        return None
    home = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    folder = Path(value).expanduser() if value else Path(home, 'mmovsam')
    gpus = os.environ.get('TORCH_CUDA_ARCH_LIST') or ';'.join(found['gpus'])
    parts = [name, f'python{sys.version_info[0]}.{sys.version_info[1]}', platform.machine(),
             f'torch{found["torch"]}', f'cuda{gpus}' if cuda else 'cpu']  # fmt: skip
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
