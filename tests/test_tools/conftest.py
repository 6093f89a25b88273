"""Tools run as commands, in this process."""

import logging
import runpy
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / 'tools'


@pytest.fixture
def run_tool(monkeypatch, capsys):
    """`run_tool('test.py', 'config.py')`: exit status, output and errors."""

    def run(tool, *arguments):
        monkeypatch.setattr(sys, 'argv', [tool, *map(str, arguments)])
        # the logger of an earlier test still holds that test's captured output, closed by now
        monkeypatch.setattr(logging, 'raiseExceptions', False)
        status = 0
        try:
            runpy.run_path(str(TOOLS / tool), run_name='__main__')
        except SystemExit as stop:
            status = stop.code
        return (status, *capsys.readouterr())

    return run
