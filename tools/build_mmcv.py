"""Build mmcv's compiled operators for this environment's PyTorch, and install them.

    python tools/build_mmcv.py          with the Python of the environment

There is no wheel of mmcv for a current PyTorch. Its own build reads PyTorch's headers 77 times,
about 25 minutes on two cores; joining its C++ files into a few takes about 2 minutes. Where that
fails, mmcv is built file by file. It gets CUDA operators if PyTorch has CUDA, nvcc has the same
version and there is a GPU (or TORCH_CUDA_ARCH_LIST is set), else CPU operators only.
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

# also when run through a link in an editable install
sys.path.insert(0, str(Path(__file__).resolve().parent))
from long_command import CommandError, run_command, with_first_on_path

DISTRIBUTIONS = {'openmmlab': ('mmcv', '2.1.0'), 'onedl': ('onedl-mmcv', '2.3.6')}
MODULE_VERSIONS = {'openmmlab': ((2, 0), (2, 2)), 'onedl': ((2, 3), (3, 0))}  # from, below
# both families provide the same modules: one package shows which of them an environment has
FAMILY_OF = {
    'mmcv': 'openmmlab', 'mmcv-lite': 'openmmlab', 'mmdet': 'openmmlab', 'mmengine': 'openmmlab',
    'onedl-mmcv': 'onedl', 'onedl-mmdetection': 'onedl', 'onedl-mmengine': 'onedl',
}  # fmt: skip
BUILD_TOOLS = ('setuptools>=80,<81', 'wheel', 'ninja', 'psutil', 'packaging')
SOURCES = Path('mmcv', 'ops', 'csrc', 'pytorch')
NUM_UNITED = 8
COMPILER_MEMORY = 2.5  # GB
PROBE = f"""
import importlib.metadata, json, sysconfig
probe = dict(site=sysconfig.get_path('platlib'), installed=[
    name for name in {tuple(FAMILY_OF)!r}
    if list(importlib.metadata.distributions(name=name))])
try:
    import torch
    probe.update(torch=str(torch.__version__), cuda=torch.version.cuda,
                 torch_folder=torch.__path__[0],
                 gpus=sorted(set('%d.%d' % torch.cuda.get_device_capability(number)
                                 for number in range(torch.cuda.device_count()))))
except Exception as error:
    probe.update(torch=None, error=str(error))
print(json.dumps(probe))
"""
TRIAL = """
import sys, torch, mmcv
from mmcv.ops import get_compiling_cuda_version, nms
boxes = torch.tensor([[0., 0., 9., 9.], [0., 0., 9., 8.], [20., 20., 30., 30.]])
assert nms(boxes, torch.tensor([.9, .8, .7]), .5)[1].tolist() == [0, 2]
print(mmcv.__version__, get_compiling_cuda_version() != 'not available')
"""


class BuildError(Exception):
    """mmcv cannot be built; the message is for the user."""


class SourceError(Exception):
    """The layout of the sources is not the expected one."""


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('--family', choices=sorted(DISTRIBUTIONS), help='(default: that of installed packages)')
    add('--operators', choices=('cpu', 'cuda'), help='in place of the choice above')
    add('--find-links', metavar='FOLDER', help='a folder with wheels or the source package')
    add('--no-deps', action='store_true', help='do not install the dependencies of mmcv')
    add('--force', action='store_true', help='compile even if a fitting mmcv exists')
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
    """Provide a fitting mmcv: the installed one, a wheel, or a new build."""
    probe = json.loads(
        subprocess.run([sys.executable, '-c', PROBE], stdout=subprocess.PIPE, check=True).stdout
    )
    if not probe['torch']:
        raise BuildError(
            f'{sys.executable} has no PyTorch that can be imported ({probe["error"]}), and mmcv is '
            f'compiled for one: {sys.executable} -m pip install torch torchvision'
        )
    family = choose_family(probe['installed'], args.family)
    name, version = DISTRIBUTIONS[family]
    cuda, reason = choose_operators(probe, nvcc_version(), args.operators)
    print(f'{name} {version} for PyTorch {probe["torch"]}: {reason}', flush=True)
    target = Path(probe['site'], 'mmcv')
    if not args.force and fits(family, cuda):
        print(f'The mmcv of this environment fits, nothing to do: {target}')
        return

    pip = [sys.executable, '-m', 'pip', '--disable-pip-version-check', '--no-input']
    links = ['--find-links', args.find_links] if args.find_links else []
    install = [*pip, 'install', *links, *(['--no-deps'] if args.no_deps else [])]
    if 'mmcv-lite' in probe['installed']:
        subprocess.run([*pip, 'uninstall', '-q', '-y', 'mmcv-lite'], check=False)
    cache = wheel_folder(probe, f'{name}-{version}', cuda)
    message = f'{name} {version} with {"CUDA and " * cuda}CPU operators is in {target}'
    with tempfile.TemporaryDirectory(prefix='build-mmcv-') as folder:
        folder = Path(folder)
        download = [*pip, 'download', *links, '--no-deps', '-d', folder, f'{name}=={version}']
        wheels = []
        if not args.force:
            wheels += sorted(cache.glob('*.whl')) if cache else []
            quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            subprocess.run([*download, '--only-binary', ':all:'], **quiet)
            wheels += sorted(folder.glob('*.whl'))
        for wheel in wheels:
            if install_fitting(install, wheel, folder, family, cuda):
                print(f'{message}, from the wheel {wheel}')
                return
        archive, env = prepare(pip, download, probe, cuda, folder)
        for united in (True, False):
            try:
                wheel = compile_wheel(archive, folder, probe, env, united)
                if install_fitting(install, wheel, folder, family, cuda):
                    break
                error = BuildError(f'{wheel.name} was built and does not run, see above.')
            except (SourceError, CommandError) as failure:
                error = failure
            if not united:
                raise error
            print(f'{error}\nThe fast build failed. Building file by file, about 25 minutes.')
        if cache:
            message += f'; its wheel, for other environments: {cache_wheel(wheel, cache)}'
    print(message)


def choose_family(installed: list, requested: str | None) -> str:
    """The family of packages for an environment, by the installed packages or by request.

    Raises:
        BuildError: The environment has packages of the other family, or of both.
    """
    families = {FAMILY_OF[name] for name in installed}
    if len(families) > 1:
        raise BuildError(
            f'This environment has packages of both families, {", ".join(installed)}, which '
            'overwrite each other. Uninstall all of them, then install one family.'
        )
    family = requested or next(iter(families), 'openmmlab')
    if families - {family}:
        raise BuildError(
            f'{DISTRIBUTIONS[family][0]} would overwrite packages that this environment has '
            f'({", ".join(installed)}). Uninstall these first, or leave out --family.'
        )
    return family


def choose_operators(probe: dict, nvcc: str | None, requested: str | None) -> tuple:
    """Whether to build CUDA operators, and the reason in a sentence for the user.

    Args:
        probe: Output of `PROBE`: `cuda` is PyTorch's version of CUDA, or None; `gpus` are the
            compute capabilities of the visible GPUs.
        nvcc: The version of the compiler, or None.
        requested: 'cpu', 'cuda' or None.

    Raises:
        BuildError: CUDA operators were requested and cannot be built.
    """
    cuda = probe['cuda']
    remedy = f'For CUDA operators install the toolkit of CUDA {cuda} and run this again'
    if requested == 'cpu':
        return False, 'CPU operators, as asked'
    if cuda is None:
        obstacle = 'this PyTorch is built without CUDA'
    elif nvcc is None:
        obstacle = f'there is no nvcc in PATH or CUDA_HOME. {remedy}'
    elif nvcc.split('.')[0] != cuda.split('.')[0]:
        obstacle = f'nvcc is of CUDA {nvcc} and PyTorch of CUDA {cuda}. {remedy}'
    elif not probe['gpus'] and 'TORCH_CUDA_ARCH_LIST' not in os.environ:
        obstacle = (
            'PyTorch sees no GPU here. To build for GPUs of another machine, name their compute '
            'capability: TORCH_CUDA_ARCH_LIST=9.0'
        )
    else:
        return True, f'CUDA operators, by nvcc {nvcc}'
    if requested == 'cuda':
        raise BuildError(f'CUDA operators cannot be built: {obstacle}.')
    return False, f'CPU operators, since {obstacle}'


def nvcc_version() -> str | None:
    """The version of nvcc, such as '13.0', or None."""
    home = os.environ.get('CUDA_HOME') or os.environ.get('CUDA_PATH')
    nvcc = shutil.which('nvcc', path=home and os.path.join(home, 'bin')) or shutil.which('nvcc')
    if nvcc is None:
        return None
    output = subprocess.run([nvcc, '--version'], capture_output=True, text=True).stdout
    release = re.search(r'release (\d+\.\d+)', output)
    return release and release[1]


def fits(family: str, cuda: bool, quiet: bool = True) -> bool:
    """Whether the environment has an mmcv of a family whose operators run."""
    output = subprocess.DEVNULL if quiet else None
    trial = subprocess.run(
        [sys.executable, '-c', TRIAL], stdout=subprocess.PIPE, stderr=output, text=True
    )
    if trial.returncode:
        return False
    version, has_cuda = trial.stdout.split()[-2:]
    version = tuple(map(int, version.split('.')[:2]))
    first, below = MODULE_VERSIONS[family]
    return first <= version < below and (has_cuda == 'True' or not cuda)


def install_fitting(install: list, wheel: Path, folder: Path, family: str, cuda: bool) -> bool:
    """Install a wheel, replacing the same version, too; returns whether it fits."""
    log = folder / 'install.log'
    try:
        run_command([*install, '--force-reinstall', '--no-deps', wheel], 'installing', log)
        if '--no-deps' not in install:
            run_command([*install, wheel], 'installing its dependencies', log)
    except CommandError as error:
        print(f'{wheel} cannot be installed:\n{error}', flush=True)
        return False
    if fits(family, cuda, quiet=False):
        return True
    print(f'{wheel.name} does not run with this PyTorch or lacks operators.', flush=True)
    return False


def prepare(pip: list, download: list, probe: dict, cuda: bool, folder: Path) -> tuple:
    """Download sources and missing build tools; returns the archive and environment variables."""
    env = build_environment(probe, cuda)
    log = folder / 'download.log'
    imports = 'import ninja, packaging, pkg_resources, psutil, setuptools, wheel'
    command = [sys.executable, '-W', 'ignore', '-c', imports]
    if subprocess.run(command, stderr=subprocess.DEVNULL).returncode:
        tools = folder / 'build_tools'  # the environment may have a newer setuptools
        run_command([*pip, 'install', '--target', tools, *BUILD_TOOLS], 'build tools', log)
        env = with_first_on_path(env, tools / 'bin')
        env['PYTHONPATH'] = os.pathsep.join(filter(None, [str(tools), env.get('PYTHONPATH')]))
    only_sources = ['--no-build-isolation', '--no-binary', ':all:']
    run_command([*download, *only_sources], 'sources', log, env)
    (archive,) = folder.glob('*.tar.gz')
    return archive, env


def compile_wheel(archive: Path, folder: Path, probe: dict, env: dict, united: bool) -> Path:
    """Build a wheel in a folder, with C++ files joined into a few (`united`) or one by one.

    Raises:
        CommandError: The sources do not compile.
        SourceError: The sources cannot be joined.
    """
    folder = folder / ('united' if united else 'ordinary')
    with tarfile.open(archive) as stream:
        stream.extractall(folder, **({'filter': 'data'} if hasattr(tarfile, 'data_filter') else {}))
    (sources,) = folder.iterdir()
    title = 'compiling'
    if united:
        title = f'compiling {unite(sources, max(NUM_UNITED, int(env["MAX_JOBS"])))} joined files'
    use_standard_of(sources, probe['torch_folder'])
    log = Path(tempfile.gettempdir(), f'build-mmcv-{os.getpid()}.log')
    command = [sys.executable, 'setup.py', 'bdist_wheel', '-d', 'wheel']
    run_command(command, title, log, env, sources)  # a failure leaves the log
    log.unlink()
    (wheel,) = (sources / 'wheel').glob('*.whl')
    return wheel


def unite(sources: Path, number: int) -> int:
    """Join the C++ files of the sources into at most `number` files; returns their number.

    CUDA files, which define the same names, are not joined.
    """
    folder = sources / SOURCES
    files = [*sorted(folder.glob('*.cpp')), *sorted((folder / 'cpu').glob('*.cpp'))]
    if len(files) < 2:
        raise SourceError(f'{SOURCES} has {len(files)} C++ files, and many were expected.')
    number = min(number, len(files))
    for index in range(number):
        with (folder / f'united_{index}.cpp').open('x', encoding='utf-8') as stream:
            for path in files[index::number]:
                part = path.rename(path.with_name(f'{path.name}.part'))  # not compiled itself
                stream.write(f'#include "{part.relative_to(folder).as_posix()}"\n')
    return number


def use_standard_of(sources: Path, torch_folder: str) -> None:
    """Set the C++ standard in mmcv's setup script to that of PyTorch's headers."""
    header = Path(torch_folder, 'include', 'torch', 'csrc', 'api', 'include', 'torch', 'all.h')
    text = header.read_text(encoding='utf-8') if header.is_file() else ''
    standard = re.search(r'C\+\+(\d\d) or later', text)
    if standard is None or standard[1] == '17':
        return
    script = sources / 'setup.py'
    text, count = re.subn(r"(?<=['/-]std[=:]c\+\+)17", standard[1], script.read_text('utf-8'))
    if not count:
        raise SourceError(f'PyTorch wants C++{standard[1]}, and the setup script names no C++17.')
    script.write_text(text, encoding='utf-8')


def build_environment(probe: dict, cuda: bool) -> dict:
    """The environment variables of the build."""
    env = {**os.environ, 'MMCV_WITH_OPS': '1', 'FORCE_CUDA': str(int(cuda))}
    # debug information would be most of the output
    env['CFLAGS'] = f'{env.get("CFLAGS", "")} -g0'.strip()
    env.setdefault('MAX_JOBS', str(number_of_compilers()))
    if not cuda:
        env['CUDA_VISIBLE_DEVICES'] = ''  # a GPU without nvcc would stop the build
        return env
    env.setdefault('TORCH_CUDA_ARCH_LIST', ';'.join(probe['gpus']))
    # a toolkit from pip has some headers beside its libraries
    extra = sorted({str(path.parent) for path in Path(probe['site'], 'nvidia').rglob('cusparse.h')})
    env['CPATH'] = os.pathsep.join(filter(None, [env.get('CPATH'), *extra]))
    return env


def number_of_compilers() -> int:
    """One for each core, within the memory."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    try:
        memory = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30
    except (AttributeError, ValueError, OSError):
        return cores or 1
    return max(1, min(cores or 1, int(memory / COMPILER_MEMORY)))


def wheel_folder(probe: dict, name: str, cuda: bool) -> Path | None:
    """The cache of wheels for such an environment; None with MMOVSAM_CACHE=off."""
    value = os.environ.get('MMOVSAM_CACHE', '')
    if value.lower() == 'off':
        return None
    home = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    folder = Path(value).expanduser() if value else Path(home, 'mmovsam')
    gpus = os.environ.get('TORCH_CUDA_ARCH_LIST') or ';'.join(probe['gpus'])
    parts = [name, f'python{sys.version_info[0]}.{sys.version_info[1]}', platform.machine(),
             f'torch{probe["torch"]}', f'cuda{gpus}' if cuda else 'cpu']  # fmt: skip
    return folder / 'wheels' / re.sub(r'[^\w.+-]', '_', '-'.join(parts))


def cache_wheel(wheel: Path, folder: Path) -> Path:
    """Copy a wheel into the cache atomically; returns the copy, or the wheel if that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = shutil.copy2(wheel, folder / f'.{os.getpid()}.tmp')
        os.replace(temporary, folder / wheel.name)
        return folder / wheel.name
    except OSError as error:
        print(f'The wheel is not cached: {error}')
        return wheel


if __name__ == '__main__':
    sys.exit(main())
