"""The command `mmovsam`, over the tools."""

import subprocess
import sys
from pathlib import Path

import pytest

import mmovsam
import mmovsam_command

ROOT = Path(__file__).resolve().parents[2]


def test_version_and_help_come_without_importing_the_package():
    code = (
        'import sys, mmovsam_command\n'
        'try: mmovsam_command.main([sys.argv[1]])\n'
        'except SystemExit as stop: print(stop.code)\n'
        'print([name for name in ("torch", "mmovsam", "mmdet") if name in sys.modules])'
    )
    for argument, expected in [('--version', mmovsam.__version__), ('--help', 'vocabulary')]:
        done = subprocess.run(
            [sys.executable, '-c', code, argument], capture_output=True, text=True, cwd=ROOT
        )
        assert expected in done.stdout and done.stdout.endswith('0\n[]\n')


def test_every_command_is_a_tool_and_has_a_line_of_help(capsys):
    with pytest.raises(SystemExit):
        mmovsam_command.main(['--help'])
    printed = capsys.readouterr().out
    for name, (tool, about) in mmovsam_command.COMMANDS.items():
        assert (ROOT / 'tools' / tool).is_file()
        assert f' {name}' in printed and about in printed
    mmovsam_command.main(['download'])  # the list of models
    printed = capsys.readouterr().out
    for words in ('ovsam-photo', 'ovsam-lvis-rn50x16', 'non-commercial', 'hf://HarborYuan'):
        assert words in printed


@pytest.mark.parametrize('command', list(mmovsam_command.COMMANDS))
def test_help_of_a_command_names_it_as_it_was_called(command, capsys):
    argv = list(sys.argv)
    with pytest.raises(SystemExit) as stop:
        mmovsam_command.main([command, '--help'])
    assert stop.value.code == 0 and sys.argv == argv
    assert capsys.readouterr().out.startswith(f'usage: mmovsam {command} ')


@pytest.mark.parametrize(
    'line, message',
    [
        ('vocabulary absent.txt --out a.safetensors --model x', 'Give --checkpoint'),
        ('download ovsam-lvis', "Did you mean 'ovsam-lvis-rn50x16'?"),
        ('lable', "invalid choice: 'lable'"),
    ],
)
def test_mistakes_are_told_by_the_tool_or_the_command(tmp_path, monkeypatch, capsys, line, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        mmovsam_command.main(line.split())
    assert stop.value.code == 2 and message in capsys.readouterr().err


def test_package_that_is_missing_is_named_without_a_traceback(monkeypatch, capsys):
    def missing(tool):
        raise ModuleNotFoundError("No module named 'mmcv'", name='mmcv')

    monkeypatch.setattr(mmovsam_command, '_run', missing)
    with pytest.raises(SystemExit) as stop:
        mmovsam_command.main(['demo'])
    assert stop.value.code == 2
    assert 'mmcv is not installed' in capsys.readouterr().err
