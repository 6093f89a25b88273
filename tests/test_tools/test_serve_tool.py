"""tools/serve.py and tools/web_demo.py in this process, without answering."""

import contextlib
import re
import socket
import sys
from types import SimpleNamespace

import pytest

pytest.importorskip('fastapi', reason="no FastAPI: pip install 'mmovsam[test]'")

from fastapi.testclient import TestClient


@pytest.fixture
def run(monkeypatch, run_tool):
    """`run('--port 0')`: exit status, the applications that were served, output, errors."""
    monkeypatch.delenv('MMOVSAM_PASSWORD', raising=False)

    def call(line, tool='serve.py'):
        served = []
        uvicorn = SimpleNamespace(
            Config=lambda app, **_: app,
            Server=lambda app: SimpleNamespace(run=lambda sockets: served.append(app)),
        )
        monkeypatch.setitem(sys.modules, 'uvicorn', uvicorn)
        status, out, err = run_tool(tool, *line.split())
        return status, served, out, err

    return call


def test_model_is_served_to_this_machine_alone(run):
    status, (app,), out, err = run('--port 0 --config mini/ovsam_mini_boxes.py --device cpu')
    assert status == 0 and app.title == 'mmovsam' and not err
    assert 'Serving at http://127.0.0.1:' in out


def test_the_page_is_served_with_it_on_the_first_free_port(run):
    line = 'mini/ovsam_mini_boxes.py --device cpu'
    with contextlib.suppress(OSError), socket.create_server(('127.0.0.1', 7860)):
        status, (app,), out, err = run(line, 'web_demo.py')
    assert status == 0 and not err
    assert re.search(r'Serving at http://127.0.0.1:78(6[1-9]|[7-9]\d)', out)
    client = TestClient(app)
    assert 'Open-Vocabulary SAM' in client.get('/').text
    assert 'coffee: Rachel Michetti, CC0' in client.get('/page/settings').json()['examples']


def test_what_is_wrong_is_told_in_a_line(run):
    with socket.create_server(('127.0.0.1', 0)) as taken:
        port = taken.getsockname()[1]
        for line, message in [
            (f'--port {port}', f'Cannot listen on 127.0.0.1, port {port}'),
            ('--port 0 --config no_such.py', 'There is no config no_such.py'),
            ('--port 0 --max-pixels 0', 'max_pixels must be above 0'),
        ]:
            status, served, _, err = run(line)
            assert status == 2 and not served and message in err


def test_other_machines_want_a_password(run, monkeypatch):
    mini = '--port 0 --config mini/ovsam_mini_boxes.py --device cpu --host 0.0.0.0'
    assert 'warning: without a password everybody who reaches 0.0.0.0' in run(mini)[3]
    monkeypatch.setenv('MMOVSAM_PASSWORD', 'secret')
    _, _, out, err = run(mini)
    assert 'warning' not in err and 'secret' not in out + err


def test_without_fastapi_it_says_how_to_get_it(run, monkeypatch):
    for module in [name for name in sys.modules if name.startswith('mmovsam.server')]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, 'fastapi', None)
    status, _, _, err = run('')
    assert status == 2 and "pip install 'mmovsam[serve]'" in err
