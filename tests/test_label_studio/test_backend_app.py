"""The routes of the backend, and what is wrong in a status that Label Studio shows."""

import base64
import io
import json
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from mmovsam.label_studio import BackendApp


class Backend:
    """Stands in for the one with a model."""

    model_version, error = 'ovsam_mini', None
    health = staticmethod(lambda: dict(status='UP'))
    setup = staticmethod(lambda request: dict(asked=request))

    def predict(self, request):
        raise self.error


@pytest.fixture
def backend():
    return Backend()


@pytest.fixture
def app(backend):
    return BackendApp(backend)


def ask(app, method, path, body=None, **environ):
    """The status line, the answer and the headers."""
    if not isinstance(body, bytes):
        body = b'' if body is None else json.dumps(body).encode()
    environ = dict(environ, REQUEST_METHOD=method, SCRIPT_NAME='', PATH_INFO=path, QUERY_STRING='')
    environ.setdefault('CONTENT_LENGTH', str(len(body)))
    environ['wsgi.input'] = io.BytesIO(body)
    setup_testing_defaults(environ)
    seen = []
    parts = validator(app)(environ, lambda status, headers, _=None: seen.append((status, headers)))
    answer = json.loads(b''.join(parts))
    parts.close()
    return seen[0][0], answer, dict(seen[0][1])


@pytest.mark.parametrize(
    'method, path, expected',
    [
        ('GET', '/', dict(status='UP')),
        ('GET', '/health', dict(status='UP')),
        ('GET', '/health/', dict(status='UP')),
        ('GET', '/versions', dict(versions=['ovsam_mini'])),
        ('POST', '/setup', dict(asked=dict(project='3.1'))),
        ('POST', '/webhook', {}),
    ],
)
def test_routes_are_answered(app, method, path, expected):
    status, answer, headers = ask(app, method, path, dict(project='3.1') if 'P' in method else None)
    assert (status, answer) == ('200 OK', expected)
    assert headers['Content-Type'] == 'application/json'


@pytest.mark.parametrize(
    'error, code',
    [
        (ValueError('the box is empty'), 400),
        (PermissionError('not below the folder'), 403),
        (FileNotFoundError('no such file'), 404),
        (ConnectionError('cannot be fetched'), 502),
    ],
)
def test_errors_have_a_status_a_reason_and_a_log_and_ours_their_details_there(
    app, backend, caplog, error, code
):
    backend.error = error
    status, answer, _ = ask(app, 'POST', '/predict', {})
    assert status == f'{code} {error}' and answer == dict(error=str(error))
    assert f'/predict {code}: {error}' in caplog.text
    backend.error = KeyError('secret')
    status, answer, _ = ask(app, 'POST', '/predict', {})
    assert status.startswith('500 ') and 'secret' not in status + str(answer)
    assert "KeyError: 'secret'" in caplog.text


def test_reason_and_log_are_one_line_that_http_and_any_file_take(app, backend, caplog):
    backend.error = ValueError('größer\r\nX: y \ud800 三\x00' + 'z' * 1000)
    status, answer, headers = ask(app, 'POST', '/predict', {})
    assert status.startswith('400 größer X: y ? ??zzz') and len(status) < 320
    assert 'X' not in headers and answer['error'] == str(backend.error)
    (record,) = caplog.records
    assert record.getMessage().startswith('/predict 400: größer X: y ? 三?zzz')


@pytest.mark.parametrize(
    'method, path, body, code, message',
    [
        ('GET', '/nowhere', None, 404, 'no /nowhere, only /, /health'),
        ('GET', '/predict', None, 405, 'asked by POST'),
        ('POST', '/health', {}, 405, 'asked by GET'),
        ('POST', '/setup', b'', 400, 'is no JSON'),
        ('POST', '/setup', b'\xff', 400, 'is no JSON'),
        ('POST', '/setup', b'[' * 100_000, 400, 'is no JSON'),
        ('POST', '/setup', [1], 400, 'is a JSON object, not list'),
        ('POST', '/train', {}, 501, 'tools/train.py'),
        ('POST', '/webhook', dict(action='START_TRAINING'), 501, 'tools/train.py'),
    ],
)
def test_bad_request_is_told_plainly(app, method, path, body, code, message):
    status, answer, _ = ask(app, method, path, body)
    assert status.startswith(f'{code} ') and message in answer['error']
    for length, code in [('', 400), ('64000001', 413)]:
        assert ask(app, 'POST', '/setup', {}, CONTENT_LENGTH=length)[0].startswith(f'{code} ')


@pytest.mark.parametrize(
    'given, code',
    [
        (None, 401),
        ('Basic', 401),
        ('Basic ???', 401),
        (b'ada:plum:fig', 200),
        (b'ada:plum', 401),
        (b'bob:plum:fig', 401),
    ],
)
def test_password_is_asked_for_everything(backend, given, code):
    if isinstance(given, bytes):
        given = 'Basic ' + base64.b64encode(given).decode()
    app = BackendApp(backend, ('ada', 'plum:fig'))
    for path in ('/health', '/nowhere'):
        header = {} if given is None else dict(HTTP_AUTHORIZATION=given)
        status, _, headers = ask(app, 'GET', path, **header)
        assert status.startswith(str(code) if path == '/health' or code == 401 else '404')
        assert ('Basic' in headers.get('WWW-Authenticate', '')) == (code == 401)
