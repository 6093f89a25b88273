"""Building mmcv, with small sources and stand-ins for commands in place of compilers."""

import importlib.util
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location('build_mmcv', ROOT / 'tools' / 'build_mmcv.py')
build_mmcv = importlib.util.module_from_spec(spec)
sys.modules['build_mmcv'] = build_mmcv
spec.loader.exec_module(build_mmcv)

NAMES = [f'operator_{letter}.cpp' for letter in 'abcde']
GPU = dict(torch='2.13.0+cu130', cuda='13.0', gpus=['9.0'])


@pytest.fixture
def sources(tmp_path):
    """Unpacked sources as mmcv lays them out: five operators, one with a CPU part, a CUDA file."""
    folder = tmp_path / 'mmcv-2.1.0' / build_mmcv.SOURCES
    (folder / 'cpu').mkdir(parents=True)
    (folder / 'cuda').mkdir()
    for name in NAMES:
        (folder / name).write_text(f'// {name}\n')
    (folder / 'cpu' / NAMES[0]).write_text(f'// cpu {NAMES[0]}\n')
    (folder / 'cuda' / 'operator_cuda.cu').write_text('')
    (tmp_path / 'mmcv-2.1.0' / 'setup.py').write_text("flags = ['-std=c++17', '/std:c++17']\n")
    return tmp_path / 'mmcv-2.1.0'


@pytest.mark.parametrize(('asked', 'number'), [(2, 2), (99, 6)])
def test_united_files_include_every_source_once_and_nothing_else_is_compiled(
    sources, asked, number
):
    folder = sources / build_mmcv.SOURCES
    assert build_mmcv.unite(sources, asked) == number
    compiled = [path for where in (folder, folder / 'cpu') for path in where.glob('*.cpp')]
    assert {path.name for path in compiled} == {f'united_{i}.cpp' for i in range(number)}
    included = ''.join(path.read_text() for path in compiled).replace('"', '').split('#include ')
    contents = sorted((folder / name.strip()).read_text() for name in included if name)
    assert contents == sorted([*(f'// {name}\n' for name in NAMES), f'// cpu {NAMES[0]}\n'])
    assert (folder / 'cuda' / 'operator_cuda.cu').is_file()
    with pytest.raises(build_mmcv.SourceError, match='has 0 C.. files, and many were expected'):
        build_mmcv.unite(sources.parent, 8)


@pytest.mark.parametrize(('wanted', 'standard'), [('17', '17'), ('20', '20'), (None, '17')])
def test_setup_script_asks_for_the_standard_of_pytorchs_headers(
    sources, tmp_path, wanted, standard
):
    header = tmp_path / 'include/torch/csrc/api/include/torch/all.h'
    header.parent.mkdir(parents=True)
    if wanted:
        header.write_text(f'#error C++{wanted} or later compatible compiler is required\n')
    build_mmcv.use_standard_of(sources, tmp_path)
    expected = f"flags = ['-std=c++{standard}', '/std:c++{standard}']\n"
    assert (sources / 'setup.py').read_text() == expected
    if wanted == '20':
        (sources / 'setup.py').write_text('flags = []')
        with pytest.raises(build_mmcv.SourceError, match=r'wants C\+\+20, and .* no C\+\+17'):
            build_mmcv.use_standard_of(sources, tmp_path)


@pytest.mark.parametrize(
    ('changes', 'nvcc', 'wanted', 'cuda', 'reason'),
    [
        ({}, '13.2', None, True, 'CUDA operators, by nvcc 13.2'),
        ({}, '13.0', 'cpu', False, 'as asked'),
        ({}, None, None, False, 'there is no nvcc .* install the toolkit of CUDA 13.0'),
        ({}, '12.8', None, False, 'nvcc is of CUDA 12.8 and PyTorch of CUDA 13.0'),
        (dict(gpus=[]), '13.0', None, False, 'sees no GPU here.*TORCH_CUDA_ARCH_LIST=9.0'),
        (dict(cuda=None), '13.0', None, False, 'built without CUDA'),
    ],
)
def test_one_line_says_which_operators_are_built_and_why(
    monkeypatch, changes, nvcc, wanted, cuda, reason
):
    monkeypatch.delenv('TORCH_CUDA_ARCH_LIST', raising=False)
    found = {**GPU, **changes}
    built, why = build_mmcv.choose_operators(found, nvcc, wanted)
    assert built == cuda and '\n' not in why and re.search(reason, why)
    if not cuda and wanted is None:
        with pytest.raises(build_mmcv.BuildError, match=reason):
            build_mmcv.choose_operators(found, nvcc, 'cuda')
    monkeypatch.setenv('TORCH_CUDA_ARCH_LIST', '8.6')  # stands for a GPU
    assert build_mmcv.choose_operators(found, nvcc, wanted)[0] == (cuda or 'gpus' in changes)


@pytest.mark.parametrize(
    ('installed', 'wanted', 'family'),
    [
        ([], None, 'openmmlab'),
        ([], 'onedl', 'onedl'),
        (['onedl-mmengine'], None, 'onedl'),
        (['mmengine', 'mmdet'], 'onedl', 'would overwrite'),
        (['mmengine', 'onedl-mmcv'], None, 'both families'),
    ],
)
def test_packages_of_the_other_family_are_never_overwritten(installed, wanted, family):
    if family in build_mmcv.DISTRIBUTIONS:
        assert build_mmcv.choose_family(installed, wanted) == family
    else:
        with pytest.raises(build_mmcv.BuildError, match=family):
            build_mmcv.choose_family(installed, wanted)


def test_build_is_for_the_gpus_that_are_there(monkeypatch, tmp_path):
    monkeypatch.delenv('TORCH_CUDA_ARCH_LIST', raising=False)
    env = build_mmcv.build_environment(GPU, cuda=False)
    assert (env['FORCE_CUDA'], env['CUDA_VISIBLE_DEVICES'], env['MMCV_WITH_OPS']) == ('0', '', '1')
    include = tmp_path / 'nvidia' / 'cu13' / 'include'
    include.mkdir(parents=True)
    (include / 'cusparse.h').touch()
    found = dict(GPU, gpus=['8.6', '9.0'], site=str(tmp_path))
    env = build_mmcv.build_environment(found, cuda=True)
    assert (env['FORCE_CUDA'], env['TORCH_CUDA_ARCH_LIST']) == ('1', '8.6;9.0')
    assert str(include) in env['CPATH'].split(os.pathsep)


def test_nvcc_tells_its_version(monkeypatch, tmp_path):
    nvcc = tmp_path / 'bin' / 'nvcc'
    nvcc.parent.mkdir()
    nvcc.write_text('#!/bin/sh\necho "Cuda compilation tools, release 12.8, V12.8.93"\n')
    nvcc.chmod(0o755)
    monkeypatch.setenv('CUDA_HOME', str(tmp_path))
    assert build_mmcv.nvcc_version() == '12.8'
    monkeypatch.delenv('CUDA_HOME')
    monkeypatch.delenv('CUDA_PATH', raising=False)
    monkeypatch.setenv('PATH', str(tmp_path))
    assert build_mmcv.nvcc_version() is None


@pytest.fixture
def run_build(monkeypatch, tmp_path, sources):
    """Runs `build` with stand-ins: what compiles and what fits is decided by the test."""
    archive = tmp_path / 'mmcv-2.1.0.tar.gz'
    with tarfile.open(archive, 'w:gz') as stream:
        stream.add(sources, 'mmcv-2.1.0')
    probe = dict(torch='2.13.0', cuda=None, gpus=[], installed=[], site=str(tmp_path),
                 torch_folder=str(tmp_path))  # fmt: skip
    both = ('united', 'ordinary')

    def run(compiles=both, fits=both, arguments=(), has=None, **changes):
        done, installed = [], [has]

        def command(parts, title, log, env=None, cwd=None):
            if 'setup.py' in parts:
                kind = cwd.parent.name
                done.append(f'compile {kind}')
                log.touch()
                if kind not in compiles:
                    raise build_mmcv.CommandError(f'{kind} does not compile')
                (cwd / 'wheel').mkdir()
                (cwd / 'wheel' / f'{kind}.whl').write_text(kind)
            else:
                installed.append(Path(parts[-1]).read_text())
                done.append(f'install {installed[-1]}')

        given = build_mmcv.json.dumps({**probe, **changes})
        completed = subprocess.CompletedProcess([], 0, given)
        monkeypatch.setattr(build_mmcv.subprocess, 'run', lambda *a, **k: completed)
        monkeypatch.setattr(build_mmcv, 'run_command', command)
        monkeypatch.setattr(build_mmcv, 'fits', lambda *a, **k: installed[-1] in fits)
        monkeypatch.setattr(build_mmcv, 'prepare', lambda *a: (archive, {'MAX_JOBS': '2'}))
        return build_mmcv.main(['--no-deps', *arguments]), done

    return run


def test_united_build_is_installed_unless_something_fits(run_build, capsys, tmp_path):
    assert run_build() == (0, ['compile united', 'install united'])
    lines = capsys.readouterr().out.splitlines()
    assert 'CPU operators, since this PyTorch is built without CUDA' in lines[0]
    assert lines[-1] == f'mmcv 2.1.0 with CPU operators is in {tmp_path / "mmcv"}'
    assert run_build(has='united') == (0, [])
    assert 'nothing to do' in capsys.readouterr().out
    assert run_build(has='united', arguments=['--force'])[1] == ['compile united', 'install united']
    assert run_build(torch=None, error="No module named 'torch'") == (1, [])
    assert '-m pip install torch torchvision' in capsys.readouterr().err


def test_ordinary_build_follows_a_united_one_that_fails(run_build, capsys, tmp_path):
    for fault in (dict(compiles=('ordinary',)), dict(fits=('ordinary',))):
        status, done = run_build(**fault)
        assert status == 0 and done[-2:] == ['compile ordinary', 'install ordinary']
        assert 'Building file by file' in capsys.readouterr().out
    for fault, message in [
        (dict(compiles=()), 'ordinary does not compile'),
        (dict(fits=()), 'does not run'),
    ]:
        assert run_build(**fault)[0] == 1
        assert message in capsys.readouterr().err
    with tarfile.open(tmp_path / 'mmcv-2.1.0.tar.gz', 'w:gz') as stream:  # unlike others
        stream.add(tmp_path / 'mmcv-2.1.0/setup.py', 'mmcv-2.1.0/setup.py')
    assert run_build() == (0, ['compile ordinary', 'install ordinary'])
    assert 'has 0 C++ files' in capsys.readouterr().out


def test_wheel_is_kept_for_the_next_environment_and_replaced_if_it_does_not_fit(
    run_build, monkeypatch, tmp_path, capsys
):
    monkeypatch.setenv('MMOVSAM_CACHE', str(tmp_path / 'cache'))
    assert run_build()[1] == ['compile united', 'install united']
    (kept,) = (tmp_path / 'cache').rglob('*.whl')
    assert f'its wheel, for other environments: {kept}' in capsys.readouterr().out
    assert run_build()[1] == ['install united']
    assert run_build(torch='2.14.1')[1] == ['compile united', 'install united']
    kept.write_text('damaged')
    assert run_build()[1] == ['install damaged', 'compile united', 'install united']
    assert kept.read_text() == 'united'


@pytest.mark.parametrize(('tool', 'flag'), [('build_mmcv', '--operators'), ('set_up', '--venv')])
def test_tool_runs_without_any_package(tool, flag):
    command = [sys.executable, '-S', '-I', str(ROOT / 'tools' / f'{tool}.py'), '--help']
    done = subprocess.run(command, capture_output=True, text=True, env={'PATH': os.environ['PATH']})
    assert done.returncode == 0 and flag in done.stdout
