"""The backend over HTTP, as a WSGI application."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus

from .backend import LabelStudioBackend

MAX_BODY = 64_000_000  # bytes; tasks come with all their annotations
MAX_REASON = 300  # characters of an error in the status line
STATUSES = {
    PermissionError: HTTPStatus.FORBIDDEN,
    FileNotFoundError: HTTPStatus.NOT_FOUND,
    ValueError: HTTPStatus.BAD_REQUEST,
    OSError: HTTPStatus.BAD_GATEWAY,
}

logger = logging.getLogger(__name__)


class _RequestError(Exception):
    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class BackendApp:
    """A WSGI application with the routes that Label Studio calls.

    The message of an error is in the status line, which Label Studio shows if anything, in the body
    and in the log.

    Args:
        backend: Handles the requests.
        credentials: `(user, password)` of HTTP Basic authentication; None for none.
    """

    def __init__(
        self, backend: LabelStudioBackend, credentials: tuple[str, str] | None = None
    ) -> None:
        self.backend = backend
        self.credentials = credentials
        self._routes: dict[str, tuple[str, Callable[[Mapping], Mapping]]] = {
            '/': ('GET', lambda _: backend.health()),
            '/health': ('GET', lambda _: backend.health()),
            '/versions': ('GET', lambda _: {'versions': [backend.model_version]}),
            '/setup': ('POST', backend.setup),
            '/predict': ('POST', backend.predict),
            '/train': ('POST', _refuse_training),
            '/webhook': ('POST', _handle_event),
        }

    def __call__(self, environ: dict, start_response: Callable) -> Iterable[bytes]:
        headers = [('Content-Type', 'application/json')]
        try:
            status, response = '200 OK', self._respond(environ)
        except Exception as error:
            code, message = _status_of(error)
            path, line = _printable(environ.get('PATH_INFO', '')), _printable(message)
            logger.warning('%s %s: %s', path, code.value, line)
            reason = line[:MAX_REASON].encode('latin-1', 'replace').decode('latin-1')
            status, response = f'{code.value} {reason}', {'error': message}
            if code == HTTPStatus.UNAUTHORIZED:
                headers.append(('WWW-Authenticate', 'Basic realm="mmovsam"'))
        body = json.dumps(response).encode()
        start_response(status, [*headers, ('Content-Length', str(len(body)))])
        return [body]

    def _respond(self, environ: dict) -> Mapping:
        if self.credentials and not _authorized(environ, self.credentials):
            raise _RequestError(
                HTTPStatus.UNAUTHORIZED,
                'This backend asks for user and password: connect it with Basic Authentication.',
            )
        path = environ.get('PATH_INFO', '').rstrip('/') or '/'
        if path not in self._routes:
            raise _RequestError(
                HTTPStatus.NOT_FOUND, f'There is no {path:.100}, only {", ".join(self._routes)}.'
            )
        method, handler = self._routes[path]
        if environ['REQUEST_METHOD'] != method:
            raise _RequestError(HTTPStatus.METHOD_NOT_ALLOWED, f'{path} is asked by {method}.')
        return handler(_body(environ) if method == 'POST' else {})


def _authorized(environ: Mapping, credentials: tuple[str, str]) -> bool:
    scheme, _, encoded = environ.get('HTTP_AUTHORIZATION', '').partition(' ')
    try:
        received = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return False
    expected = ':'.join(credentials).encode()
    return scheme.lower() == 'basic' and hmac.compare_digest(received, expected)


def _body(environ: Mapping) -> Mapping:
    length = environ.get('CONTENT_LENGTH') or '0'
    if not length.isdecimal():
        raise ValueError(f'Content-Length is a number, not {length!r:.100}.')
    if int(length) > MAX_BODY:
        raise _RequestError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f'A request has {MAX_BODY / 1e6:.0f} MB at most, this one has {int(length) / 1e6:.0f}.',
        )
    try:
        content = json.loads(environ['wsgi.input'].read(int(length)))
    except (ValueError, RecursionError) as error:
        raise ValueError(f'The request is no JSON: {error}.') from None
    if not isinstance(content, dict):
        raise ValueError(f'A request is a JSON object, not {type(content).__name__}.')
    return content


def _refuse_training(_: Mapping) -> Mapping:
    raise _RequestError(
        HTTPStatus.NOT_IMPLEMENTED,
        'This backend does not learn from annotations. Export them as COCO and train with '
        'tools/train.py.',
    )


def _handle_event(event: Mapping) -> Mapping:
    """Ignore all events but those that ask for training."""
    return _refuse_training(event) if event.get('action') == 'START_TRAINING' else {}


def _status_of(error: Exception) -> tuple[HTTPStatus, str]:
    if isinstance(error, _RequestError):
        return error.status, str(error)
    for kind, status in STATUSES.items():
        if isinstance(error, kind):
            return status, str(error)
    logger.error('a request failed', exc_info=error)
    return HTTPStatus.INTERNAL_SERVER_ERROR, 'An error of the backend; its log has the details.'


def _printable(text: str) -> str:
    """One line of printable characters."""
    line = ' '.join(text.split())
    return ''.join(char if char.isprintable() else '?' for char in line)
