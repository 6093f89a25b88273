"""Importing the package where OpenMMLab's packages are missing or do not fit."""

import subprocess
import sys
from pathlib import Path

import pytest

import mmovsam.dependencies as dependencies

ROOT = Path(__file__).resolve().parents[1]


def error_of_import(before='', path=()):
    """The last line that `import mmovsam` prints in a new process."""
    code = f'import sys\nsys.path[:0] = {[*map(str, path), str(ROOT)]!r}\n{before}\nimport mmovsam'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 1
    return done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize('missing', [('mmengine', 'mmdet'), ('mmcv',)])
def test_missing_packages_are_named_with_the_command_that_brings_them(missing):
    error = error_of_import('\n'.join(f'sys.modules[{name!r}] = None' for name in missing))
    assert error.startswith(f'ImportError: mmovsam needs {" and ".join(missing)}, which')
    if missing == ('mmcv',):
        assert error.endswith(f'{sys.executable} {ROOT / "tools" / "build_mmcv.py"}')
    else:
        assert f"{sys.executable} -m pip install 'mmovsam[openmmlab]'" in error


def test_mmcv_without_operators_is_refused_before_it_is_imported(tmp_path):
    package = tmp_path / 'mmcv'
    package.mkdir()
    (package / '__init__.py').write_text('raise SystemExit("imported")')
    error = error_of_import(path=[tmp_path])
    assert 'compiled operators' in error and str(package) in error
    assert error.endswith(f'{sys.executable} {ROOT / "tools" / "build_mmcv.py"}')


def test_operators_of_another_pytorch_are_told_with_what_the_loader_says():
    finder = (
        'class Finder:\n'
        '    def find_spec(self, name, *rest):\n'
        "        if name == 'mmcv._ext': raise ImportError('undefined symbol: _ZN3c10')\n"
        'sys.meta_path.insert(0, Finder())'
    )
    error = error_of_import(finder)
    assert 'another PyTorch' in error and 'undefined symbol: _ZN3c10' in error
    assert error.endswith('build_mmcv.py')


def test_family_that_is_there_in_part_is_completed_and_a_wheel_names_its_own_tool(
    monkeypatch, tmp_path
):
    monkeypatch.setattr(dependencies, '_is_installed', lambda name: name == 'onedl-mmcv')
    monkeypatch.setattr(dependencies.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(ImportError, match=r'mmovsam\[onedl\]'):
        dependencies.require_openmmlab()
    tool = tmp_path / 'mmovsam' / '.mim' / 'tools' / 'build_mmcv.py'
    tool.parent.mkdir(parents=True)
    tool.touch()
    monkeypatch.setattr(dependencies, '__file__', str(tmp_path / 'mmovsam' / 'dependencies.py'))
    assert dependencies.build_command() == f'{sys.executable} {tool}'
