"""The set-up, with small steps in place of installations."""

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location('set_up', ROOT / 'tools' / 'set_up.py')
set_up = importlib.util.module_from_spec(spec)
sys.modules['set_up'] = set_up
spec.loader.exec_module(set_up)
long_command = sys.modules['long_command']


@pytest.fixture
def venv(tmp_path):
    venv = tmp_path / 'a folder' / '.venv'
    venv.mkdir(parents=True)
    (venv / 'requirements.txt').write_text('torch==1')
    return venv


def python_step(name, code, *inputs, **kwargs):
    return set_up.Step(name, [sys.executable, '-S', '-c', code], list(inputs), **kwargs)


def steps_that_count(venv):
    count = f'open({str(venv / "count")!r}, "a").write'
    return [
        python_step('first', f'{count}("1")', venv / 'requirements.txt'),
        python_step('second', f'{count}("2")', 'text'),
    ]


def test_steps_are_skipped_until_a_requirement_of_theirs_or_before_changes(venv, capsys):
    for _ in range(2):
        set_up.run_steps(steps_that_count(venv), venv)
    assert (venv / 'count').read_text() == '12'
    assert capsys.readouterr().out.count('is ready') == 1
    (venv / 'requirements.txt').write_text('torch==2')
    set_up.run_steps(steps_that_count(venv), venv)
    assert (venv / 'count').read_text() == '1212'
    first = steps_that_count(venv)[0]
    with pytest.raises(set_up.SetUpError):  # what failed is repeated, and nothing before it
        set_up.run_steps([first, python_step('second', 'raise SystemExit(1)')], venv)
    set_up.run_steps([first, python_step('second', 'pass')], venv)
    assert (venv / 'count').read_text() == '1212'
    for damaged in ('', '{', '[]', '{"first": 3}'):
        (venv / set_up.STAMPS).write_text(damaged)
        (venv / 'count').write_text('')
        set_up.run_steps(steps_that_count(venv), venv)
        assert (venv / 'count').read_text() == '12'


def test_failure_shows_the_last_lines_the_command_the_log_and_the_remedy(venv):
    code = 'print(*range(50), sep="\\n"); raise OSError("No space left on device")'
    with pytest.raises(set_up.SetUpError) as caught:
        set_up.run_step(python_step('copy', code), '[1/1] copy', venv)
    message = str(caught.value)
    assert "step 'copy' failed" in message and '\n    49\n' in message and '    3\n' not in message
    assert 'command: ' in message and 'free about 8 GB' in message
    log = message.split('whole output: ')[1].splitlines()[0]
    assert Path(log).read_text().startswith('0\n1\n')
    with pytest.raises(set_up.SetUpError, match='no-such-command-here'):
        set_up.run_step(set_up.Step('nothing', ['no-such-command-here']), 'nothing', venv)


@pytest.mark.parametrize(
    ('output', 'remedy'),
    [
        ("error: command 'x86_64-linux-gnu-gcc' failed: No such file", 'apt-get install g++'),
        ('fatal error: Python.h: No such file or directory', 'python3-dev'),
        ('The virtual environment was not created ... ensurepip is not available', 'python3-venv'),
        ('/usr/bin/python: No module named pip', 'ensurepip'),
        ('error: externally-managed-environment', 'belongs to the system'),
        ('g++: fatal error: Killed signal terminated program cc1plus', 'MAX_JOBS=1'),
        ('[Errno -3] Temporary failure in name resolution\nNo matching distribution', 'network'),
        ('ERROR: No matching distribution found for mmcv==2.1.0', 'PYTHON='),
        ('something else', 'names the cause'),
    ],
)
def test_remedy_fits_the_failure(output, remedy):
    assert remedy in long_command.remedy_for(output)


@pytest.mark.parametrize('version', [(3, 9), (3, 13), (2, 7)])
def test_python_without_wheels_is_refused_with_another_to_take(version):
    with pytest.raises(set_up.SetUpError, match=r'needed is 3\.10 to 3\.12.*PYTHON='):
        set_up.check_python(version, 'python')


def test_steps_have_pins_and_the_wheel_folder_and_index_of_the_user(monkeypatch, tmp_path):
    monkeypatch.setenv('WHEELS', str(tmp_path))
    monkeypatch.setenv('TORCH_INDEX', 'https://example.org/cpu')
    steps = {step.name: step for step in set_up.steps(Path('.venv'), (3, 11))}
    assert all(str(tmp_path) in steps[name].command for name in ('PyTorch', 'mmcv', 'mmovsam'))
    assert 'https://example.org/cpu' in steps['PyTorch'].command
    files = {path for step in steps.values() for path in step.inputs if isinstance(path, Path)}
    assert all(path.is_file() for path in files)
    for path in (path for path in files if path.suffix == '.txt'):
        lines = [line for line in path.read_text().splitlines() if line and line[0] != '#']
        assert lines and all('==' in line for line in lines)


def test_environment_is_kept_unless_its_python_is_gone_or_another_is_asked_for(venv, monkeypatch):
    (venv / 'pyvenv.cfg').write_text('home = /nowhere\nversion = 3.12.1\n')
    (venv / 'bin').mkdir()
    (venv / 'bin' / 'python').touch()
    made = []
    monkeypatch.setattr(set_up, 'run_steps', lambda todo, folder: made.append(todo[0].inputs))
    monkeypatch.setattr(set_up.sys, 'version_info', (3, 11, 0))
    for follow_python, version in ((False, '3.12'), (True, '3.11')):
        set_up.set_up(venv, follow_python=follow_python)
        assert venv.exists() != follow_python and made.pop() == [version]
    venv.mkdir()
    (venv / 'pyvenv.cfg').write_text('version = 3.11.1\n')
    set_up.set_up(venv)  # it has no Python
    assert not venv.exists()
