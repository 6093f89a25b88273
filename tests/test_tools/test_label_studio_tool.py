"""tools/label_studio_backend.py in this process, without a port."""

import io
import json
import sys
from types import SimpleNamespace
from wsgiref.util import setup_testing_defaults

import pytest


@pytest.fixture
def run(monkeypatch, run_tool):
    """`run('--port 9')`: exit status, what was served and how, and the errors."""
    for variable in ('BASIC_AUTH_USER', 'BASIC_AUTH_PASS'):
        monkeypatch.delenv(variable, raising=False)

    def call(line, installed=True):
        served = []
        waitress = SimpleNamespace(serve=lambda app, **how: served.append((app, how)))
        monkeypatch.setitem(sys.modules, 'waitress', waitress if installed else None)
        status, _, err = run_tool('label_studio_backend.py', *line.split())
        return status, served, err

    return call


def status_of(app):
    environ = dict(PATH_INFO='/health')
    setup_testing_defaults(environ)
    environ['wsgi.input'] = io.BytesIO()
    seen = []
    body = app(environ, lambda status, headers: seen.append(status))
    return seen[0], json.loads(b''.join(body))


def test_model_of_photographs_is_served_to_this_machine_alone(run):
    status, ((app, how),), _ = run('')
    assert status == 0 and (how['host'], how['port']) == ('127.0.0.1', 9090)
    assert app.backend.source.settings == dict(prompter='find', options={})
    line, answer = status_of(app)
    assert line == '200 OK' and answer['model_version'] == 'ovsam_photo'


def test_flags_and_environment_arrive(run, monkeypatch, tmp_path):
    monkeypatch.setenv('LABEL_STUDIO_API_KEY', 'key')
    monkeypatch.setenv('BASIC_AUTH_USER', 'ada')
    monkeypatch.setenv('BASIC_AUTH_PASS', 'plum')
    _, ((app, how),), _ = run(
        f'--host 0.0.0.0 --port 7 --label-studio http://ls:8080 --data-root {tmp_path} '
        '--allow-host a.example --allow-host b.example:81 --max-megabytes 2 --max-megapixels 1.5 '
        '--prompter everything --prompter-options points_per_side=8'
    )
    images = app.backend.images
    assert (how['host'], how['port']) == ('0.0.0.0', 7)
    assert (images.url, images.api_key, images.data_root) == ('http://ls:8080', 'key', tmp_path)
    assert app.backend.source.settings['options'] == dict(points_per_side=8)
    assert images.allowed_hosts == {'a.example', 'b.example:81'}
    assert (images.max_bytes, images.max_pixels) == (2_000_000, 1_500_000)
    assert status_of(app)[0].startswith('401 ')


@pytest.mark.parametrize(
    'line, installed, user, message',
    [
        ('--label-studio localhost:8080', True, '', 'no address of Label Studio'),
        ('--prompter-options points=3', True, '', 'has no points; it has score_thr'),
        ('--config no_such.py', True, '', 'There is no config no_such.py'),
        ('', False, '', "pip install 'mmovsam[label-studio]'"),
        ('', True, 'ada', 'both of BASIC_AUTH_USER'),
    ],
)
def test_what_is_wrong_is_told_in_a_line(run, monkeypatch, line, installed, user, message):
    monkeypatch.setenv('BASIC_AUTH_USER', user)
    status, served, errors = run(line, installed)
    assert status == 2 and not served and message in errors
