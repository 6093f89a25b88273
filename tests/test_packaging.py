"""What the distribution carries, built from a copy of the sources in a folder with a space."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import pytest
import yaml
from mmengine.config import Config
from packaging.requirements import Requirement

import mmovsam

ROOT = Path(__file__).resolve().parents[1]
BUILD = """
import sys
for name in ('torch', 'numpy', 'mmengine', 'mmcv', 'mmdet'):
    sys.modules[name] = None  # a build environment has none of them
from setuptools import build_meta
print(build_meta.{function}({target!r}))
"""


@pytest.fixture(scope='module')
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp('packaging') / 'a clone'
    ignore = shutil.ignore_patterns('__pycache__')
    for name in ('mmovsam', 'configs', 'tools', 'requirements'):
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    for path in ROOT.iterdir():
        if path.is_file() and path.suffix != '.log':
            shutil.copy2(path, folder)
    stale = folder / 'build' / 'lib' / 'mmovsam' / 'removed.py'
    stale.parent.mkdir(parents=True)
    stale.write_text('')
    return folder


def run(arguments, folder, env=None):
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)


def build(sources, function, target):
    target.mkdir()
    done = run(['-c', BUILD.format(function=function, target=str(target))], sources)
    assert done.returncode == 0, done.stdout + done.stderr
    return target / done.stdout.strip().splitlines()[-1]


@pytest.fixture(scope='module')
def wheel(sources, tmp_path_factory):
    path = build(sources, 'build_wheel', tmp_path_factory.mktemp('wheel') / 'out')
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_wheel_carries_the_package_its_weights_and_what_mim_looks_for_and_nothing_else(wheel):
    names = set(wheel.namelist())
    package = [p for p in (ROOT / 'mmovsam').rglob('*') if p.suffix in ('.py', '.json')]
    package += (ROOT / 'mmovsam' / 'weights').glob('*')
    assert {str(path.relative_to(ROOT)) for path in package} <= names
    for_mim = [p for folder in ('tools', 'configs') for p in (ROOT / folder).rglob('*.py')]
    assert {f'mmovsam/.mim/{path.relative_to(ROOT)}' for path in for_mim} <= names
    assert {'mmovsam/.mim/model-index.yml', 'mmovsam/py.typed'} <= names
    assert {name.split('/')[0].split('-')[0] for name in names} == {'mmovsam', 'mmovsam_command.py'}
    assert not [name for name in names if '__pycache__' in name or '/tests/' in name]
    assert 'mmovsam/removed.py' not in names  # of an earlier build
    info = f'mmovsam-{mmovsam.__version__}.dist-info'
    metadata = wheel.read(f'{info}/METADATA').decode()
    assert f'\nVersion: {mmovsam.__version__}\n' in metadata and 'Apache-2.0' in metadata
    assert [name for name in names if name.endswith('LICENSE')]
    points = wheel.read(f'{info}/entry_points.txt').decode()
    assert '[console_scripts]\nmmovsam = mmovsam_command:main\n' in points


def test_command_of_an_installed_wheel_finds_its_tools_from_any_folder(wheel, tmp_path):
    site = tmp_path / 'site'
    wheel.extractall(site)
    (site / 'tools').mkdir()  # somebody else's
    (site / 'tools' / 'auto_label.py').write_text('raise SystemExit("not this one")')
    code = (
        'import mmovsam_command as c; print(c.__file__); print(c._tool("auto_label.py")); '
        'c.main(["--version"])'
    )
    done = run(['-c', code], tmp_path, {**os.environ, 'PYTHONPATH': str(site)})
    assert done.returncode == 0, done.stderr
    module, tool, version = done.stdout.splitlines()
    assert Path(module).parent == site
    assert Path(tool) == site / 'mmovsam' / '.mim' / 'tools' / 'auto_label.py'
    assert version == f'mmovsam {mmovsam.__version__}'


def test_installing_replaces_nobodys_openmmlab_packages(wheel):
    info = f'mmovsam-{mmovsam.__version__}.dist-info'
    required = re.findall(
        r'^Requires-Dist: ([\w.-]+)(.*)$', wheel.read(f'{info}/METADATA').decode(), re.M
    )
    always = {name.lower() for name, rest in required if 'extra ==' not in rest}
    assert 'torch' in always
    assert not [name for name in always if name.startswith(('mm', 'onedl', 'openmim'))]
    extras = {name.lower() for name, rest in required if 'extra ==' in rest}
    assert {'mmengine', 'mmdet', 'onedl-mmdetection', 'openmim', 'scikit-image'} <= extras
    # which pip cannot build with its operators, so that it has to come from tools/build_mmcv.py
    assert not extras & {'mmcv', 'onedl-mmcv'}


def test_editable_install_points_mim_to_the_checkout(sources, tmp_path):
    path = build(sources, 'build_editable', tmp_path / 'out')
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / 'site')
    site = tmp_path / 'site'
    pth = next(site.glob('*.pth')).read_text().strip()
    assert Path(pth).resolve() == sources.resolve()
    assert not (site / 'mmovsam' / '__init__.py').exists()
    tool = site / 'mmovsam' / '.mim' / 'tools' / 'set_up.py'
    done = run([str(tool), '--help'], tmp_path, {'PATH': os.environ['PATH']})
    assert done.returncode == 0 and '--follow-python' in done.stdout
    runtime = Path('configs/_base_/default_runtime.py')
    original = Config.fromfile(sources / runtime).to_dict()
    assert Config.fromfile(site / 'mmovsam' / '.mim' / runtime).to_dict() == original


def test_source_distribution_builds_the_same_wheel(sources, wheel, tmp_path):
    path = build(sources, 'build_sdist', tmp_path / 'sdist')
    with tarfile.open(path) as archive:
        archive.extractall(tmp_path, filter='data')
    folder = tmp_path / path.name.removesuffix('.tar.gz')
    with zipfile.ZipFile(build(folder, 'build_wheel', tmp_path / 'wheel')) as archive:
        assert set(archive.namelist()) == set(wheel.namelist())


def test_model_index_names_configs_and_weights_that_exist_and_names_are_unique():
    names = Counter(path.name for path in (ROOT / 'configs').rglob('*.py'))
    runnable = [p.name for p in (ROOT / 'configs').rglob('*.py') if '_base_' not in p.parts]
    assert not [name for name in runnable if names[name] > 1]  # by which mim searches
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    assert index['Models']
    for model in index['Models']:
        assert (ROOT / model['Config']).is_file(), model['Name']
        assert Path(model['Config']).stem == model['Name']
        name = model['Weights'].removeprefix('mmovsam://')
        assert (ROOT / 'mmovsam' / 'weights' / name).is_file(), model['Name']


def test_pins_are_within_what_the_package_asks_for():
    pins = {}
    for path in (ROOT / 'requirements').glob('*.txt'):
        for line in path.read_text().splitlines():
            line = line.split('  #')[0].strip()
            if line and not line.startswith('#'):
                requirement = Requirement(line)
                version = str(requirement.specifier).removeprefix('==')
                pins.setdefault(requirement.name.lower().replace('_', '-'), []).append(version)
    text = (ROOT / 'setup.py').read_text()
    asked = [Requirement(found) for found in re.findall(r"'([\w-]+(?:[<>=]=?[\d.,<>=]+))'", text)]
    assert len(asked) > 5
    for requirement in asked:
        for version in pins.get(requirement.name.lower().replace('_', '-'), []):
            assert requirement.specifier.contains(version), requirement
