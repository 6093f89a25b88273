"""The set-up, with small steps in place of installations."""

import importlib.util
import os
import subprocess
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
    return venv


def python_step(name, code, *inputs, **kwargs):
    return set_up.Step(name, [sys.executable, '-c', code], list(inputs), **kwargs)


def steps_that_count(venv, requirements):
    count = f'open({str(venv / "count")!r}, "a").write'
    return [
        python_step('first', f'{count}("1")', requirements),
        python_step('second', f'{count}("2")', 'text'),
    ]


def test_steps_that_are_up_to_date_are_skipped(venv, capsys):
    requirements = venv / 'requirements.txt'
    requirements.write_text('torch==1')
    for _ in range(2):
        set_up.run_steps(steps_that_count(venv, requirements), venv)
    assert (venv / 'count').read_text() == '12'
    assert capsys.readouterr().out.count('is ready') == 1


def test_changed_requirement_repeats_its_step_and_those_after_it(venv):
    requirements = venv / 'requirements.txt'
    for text in ('torch==1', 'torch==2'):
        requirements.write_text(text)
        set_up.run_steps(steps_that_count(venv, requirements), venv)
    assert (venv / 'count').read_text() == '1212'


def test_failed_step_is_repeated_and_those_before_it_are_not(venv):
    requirements = venv / 'requirements.txt'
    requirements.write_text('torch==1')
    first = steps_that_count(venv, requirements)[0]
    with pytest.raises(set_up.SetUpError):
        set_up.run_steps([first, python_step('second', 'raise SystemExit(1)')], venv)
    set_up.run_steps([first, python_step('second', 'pass')], venv)
    assert (venv / 'count').read_text() == '1'


@pytest.mark.parametrize('content', ['', '{', '[]', '{"first": 3}'])
def test_damaged_stamps_repeat_the_steps(venv, content):
    requirements = venv / 'requirements.txt'
    requirements.write_text('torch==1')
    (venv / set_up.STAMPS).write_text(content)
    set_up.run_steps(steps_that_count(venv, requirements), venv)
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


@pytest.mark.parametrize(
    ('output', 'remedy'),
    [
        ("FileNotFoundError: [Errno 2] No such file or directory: 'c++'", 'apt-get install g++'),
        ("error: command 'x86_64-linux-gnu-gcc' failed: No such file", 'apt-get install g++'),
        ('/bin/sh: 1: g++: not found', 'apt-get install g++'),
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


def test_command_that_does_not_exist_is_a_readable_failure(venv):
    step = set_up.Step('nothing', ['no-such-command-here'])
    with pytest.raises(set_up.SetUpError, match='no-such-command-here'):
        set_up.run_step(step, 'nothing', venv)


def test_long_step_shows_progress_of_the_compiler(tmp_path):
    log = tmp_path / 'log'
    log.write_text('building\n[1/77] c++ a.cpp\n[12/77] c++ b.cpp\nwarning: unused\n')
    assert long_command.progress(log) == 'file 12 of 77, '
    log.write_text('compiling 8 joined files: file 3 of 8, 40 s\n')  # of build_mmcv.py
    assert long_command.progress(log) == 'file 3 of 8, '
    log.write_text('nothing yet')
    assert long_command.progress(log) == ''


@pytest.mark.parametrize(
    ('seconds', 'text'), [(0.2, '0 s'), (59.6, '1 min 0 s'), (840, '14 min 0 s'), (61, '1 min 1 s')]
)
def test_durations_are_readable(seconds, text):
    assert long_command.duration(seconds) == text


@pytest.mark.parametrize('version', [(3, 9), (3, 13), (2, 7)])
def test_python_without_wheels_is_refused_with_another_to_take(version):
    with pytest.raises(set_up.SetUpError, match=r'needed is 3\.10 to 3\.12.*PYTHON='):
        set_up.check_python(version, 'python')


def test_wheel_folder_of_the_user_and_torch_index_reach_pip(monkeypatch, tmp_path):
    monkeypatch.setenv('WHEELS', str(tmp_path))
    monkeypatch.setenv('TORCH_INDEX', 'https://example.org/cpu')
    steps = {step.name: step.command for step in set_up.steps(Path('.venv'), (3, 11))}
    for name in ('PyTorch', 'mmcv', 'mmovsam'):
        assert str(tmp_path) in steps[name]
    assert 'https://example.org/cpu' in steps['PyTorch']


def test_every_pinned_file_exists_and_pins_versions():
    for step in set_up.steps(Path('.venv'), (3, 11)):
        for path in step.inputs:
            if isinstance(path, Path):
                assert path.is_file()
                if path.suffix == '.txt':
                    lines = [x for x in path.read_text().splitlines() if x and x[0] != '#']
                    assert lines and all('==' in line for line in lines)


def test_environment_of_another_python_is_kept_unless_asked_to_follow(venv, monkeypatch):
    (venv / 'pyvenv.cfg').write_text('home = /nowhere\nversion = 3.12.1\n')
    (venv / 'bin').mkdir()
    (venv / 'bin' / 'python').write_text('')
    made = []
    monkeypatch.setattr(set_up, 'run_steps', lambda todo, folder: made.append(todo))
    monkeypatch.setattr(set_up.sys, 'version_info', (3, 11, 0))
    set_up.set_up(venv, follow_python=False)
    assert venv.exists() and made[0][0].inputs == ['3.12']
    set_up.set_up(venv, follow_python=True)
    assert not venv.exists() and made[1][0].inputs == ['3.11']


def test_environment_whose_python_is_gone_is_made_anew(venv, monkeypatch):
    (venv / 'pyvenv.cfg').write_text('version = 3.11.1\n')
    monkeypatch.setattr(set_up, 'run_steps', lambda todo, folder: None)
    set_up.set_up(venv)
    assert not venv.exists()


def test_second_set_up_of_a_folder_waits_for_the_first(tmp_path):
    path = tmp_path / 'a.lock'
    code = f"""
import sys; sys.path.insert(0, {str(ROOT / 'tools')!r})
from pathlib import Path; import set_up
with set_up.lock(Path({str(path)!r})): print('held', flush=True)
"""
    with set_up.lock(path):
        other = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE, text=True)
        assert 'waiting' in other.stdout.readline()
    assert other.communicate()[0].strip() == 'held'


def test_tool_runs_without_any_package(tmp_path):
    command = [sys.executable, '-S', '-I', str(ROOT / 'tools' / 'set_up.py'), '--help']
    done = subprocess.run(command, capture_output=True, text=True, env={'PATH': os.environ['PATH']})
    assert done.returncode == 0 and '--follow-python' in done.stdout
