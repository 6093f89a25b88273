"""tools/web_demo.py in this process."""

import contextlib
import sys
import time
from types import SimpleNamespace

import pytest


@pytest.fixture
def run(run_tool, monkeypatch):
    """`run('--port', '1')`: exit status, output and errors; what waits is stopped as by Ctrl-C."""

    def stop(seconds):
        if seconds > 60:
            raise KeyboardInterrupt
        sleep(seconds)

    sleep = time.sleep
    monkeypatch.setattr(time, 'sleep', stop)
    return lambda *arguments: run_tool('web_demo.py', *arguments)


def test_it_serves_the_model_of_photographs_until_it_is_stopped(run):
    pytest.importorskip('gradio', reason="no Gradio: pip install 'mmovsam[test]'")
    status, out, err = run()
    assert 'The page is at http://127.0.0.1:' in out
    assert status == 130 and 'The page has ended' in err
    status, _, err = run('no_such.py')
    assert status == 2 and 'There is no config no_such.py' in err


def test_without_gradio_it_says_how_to_get_it(run, monkeypatch):
    for module in ('mmovsam.web.layout', 'mmovsam.web.page', 'mmovsam.web.serving'):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, 'gradio', None)
    status, _, err = run()
    assert status == 2 and "pip install 'mmovsam[web]'" in err


def test_a_page_for_other_machines_wants_a_password(run, monkeypatch):
    serving = pytest.importorskip('mmovsam.web.serving', reason='no Gradio')
    given = []

    @contextlib.contextmanager
    def serve(*args):
        given.append(args[-1])
        yield 'http://a'

    monkeypatch.setattr(serving, 'serving', serve)
    monkeypatch.setattr('mmovsam.apis.loading.load', lambda *args: (SimpleNamespace(model=None),))
    monkeypatch.setattr('getpass.getpass', lambda prompt: 'typed')
    monkeypatch.delenv('MMOVSAM_PASSWORD', raising=False)
    for arguments, warned in (
        (('--host', '0.0.0.0'), True),
        (('--host', 'localhost'), False),
        ((), False),
        (('--host', '0.0.0.0', '--password'), False),
    ):
        _, _, err = run(*arguments)
        assert ('warning: without a password everybody who reaches 0.0.0.0' in err) == warned
    monkeypatch.setenv('MMOVSAM_PASSWORD', 'secret')
    _, out, err = run('--host', '0.0.0.0')
    assert 'warning' not in err and 'secret' not in out + err
    assert given == [None, None, None, 'typed', 'secret']
