"""What the README says about installing, typed into new environments.

It takes minutes, a C++ compiler and the package index.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]


def readme_block(heading, language):
    """The first block of a language below a heading."""
    section = (ROOT / 'README.md').read_text().split(f'{heading}\n')[1].split('\n## ')[0]
    return re.search(rf'```{language}\n(.*?)```', section, re.DOTALL)[1]


def readme_commands():
    block = readme_block('## Install', 'bash')
    return [line.split('  #')[0].strip() for line in block.splitlines() if line.strip()]


@pytest.fixture
def typed(tmp_path):
    """Runs a command line in a copy of the sources and a new environment that has PyTorch."""
    folder = tmp_path / 'a clone'
    ignore = shutil.ignore_patterns('__pycache__', '.*', 'build', 'tests', '*.log')
    shutil.copytree(ROOT, folder, ignore=ignore)
    venv = tmp_path / 'venv'
    subprocess.run([sys.executable, '-m', 'venv', venv], check=True)
    env = {key: value for key, value in os.environ.items() if not key.startswith('PYTHON')}
    env['PATH'] = os.pathsep.join([str(venv / 'bin'), env['PATH']])

    def run(line, status=0):
        done = subprocess.run(
            ['bash', '-c', line], cwd=folder, env=env, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert done.returncode == status, f'{line}\n{done.stdout}'
        return done.stdout

    run('pip install -q -r requirements/torch.txt')
    return run


def test_commands_of_the_readme_give_a_working_package(typed):
    commands = readme_commands()
    assert len(commands) > 1
    for line in commands:
        output = typed(line)
    assert 'operators is in' in output.strip().splitlines()[-1]
    look_at_a_photograph = readme_block('## Use it from Python', 'python')
    name, mask = typed(f'cd / && python -c {shlex.quote(look_at_a_photograph)}').splitlines()[-2:]
    assert 'spoon' in name
    assert re.fullmatch(r'espresso \d+ pixels', mask)
    assert 'nothing to do' in typed(commands[-1])


def test_maintained_packages_install_and_only_the_operators_are_missing(typed):
    typed("pip install '.[onedl]'")
    error = typed('cd / && python -c "import mmovsam"', status=1).strip().splitlines()[-1]
    assert error.startswith('ImportError: mmovsam needs mmcv') and 'build_mmcv.py' in error
