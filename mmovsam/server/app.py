"""The server as an ASGI application: sessions, images, prompts, names."""

import hmac
import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, NamedTuple

try:
    from fastapi import Depends, FastAPI, HTTPException, Request
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse
    from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
except ImportError as error:
    raise ImportError("The server needs: pip install 'mmovsam[serve]'") from error
from starlette.exceptions import HTTPException as StarletteHTTPException

from ..apis import OVSAMPredictor
from ..apis.name_encoder import NameEncoder
from ..version import __version__
from . import answers, messages
from .limits import MAX_JSON, BodyLimit, Limits, ModelThread
from .sessions import Sessions

IMAGE_TYPES = ('application/octet-stream', 'image/jpeg', 'image/png', 'image/webp', 'image/tiff')
_BEARER = HTTPBearer(auto_error=False, description='The token that POST /sessions gave.')

logger = logging.getLogger(__name__)


def _problems(*statuses: int) -> dict:
    return {
        status: dict(model=messages.Problem, description=HTTPStatus(status).phrase)
        for status in statuses
    }


OF_SESSION = _problems(401, 503)
OF_IMAGE = {**OF_SESSION, **_problems(400, 408, 409, 413, 422)}


class OfSession(NamedTuple):
    """A request's session."""

    token: str
    predictor: OVSAMPredictor


class Served:
    """A model that sessions share.

    Args:
        predictor: Each session has a fork of it, which remembers its own image only.
        name_encoder: Of the same model.
        limits: What the server bears.
        model_name: What clients are told.
        password: What everybody has to know who opens a session; None if they need none.

    Raises:
        ValueError: The password is empty.
    """

    def __init__(
        self,
        predictor: OVSAMPredictor,
        name_encoder: NameEncoder,
        limits: Limits | None = None,
        model_name: str = 'mmovsam',
        password: str | None = None,
    ) -> None:
        if password == '':
            raise ValueError('The password is empty: give one of at least one character.')
        self.predictor = predictor
        self.name_encoder = name_encoder
        self.limits = limits = limits or Limits()
        self.model_name = model_name
        self.password = password
        self.sessions = Sessions(
            predictor.fork, limits.max_memory, forget_after=limits.forget_after
        )
        self.model_thread = ModelThread(limits.max_waiting)

    def check_password(self, given: str | None) -> None:
        """Refuse whoever does not know the password, in a time that does not tell how wrong it is.

        Raises:
            HTTPException: It is another one.
        """
        if self.password is not None and not hmac.compare_digest(
            (given or '').encode(), self.password.encode()
        ):
            raise HTTPException(401, 'This server asks for its password: give the right one.')

    def session(
        self, given: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]
    ) -> OfSession:
        """The session of a request.

        Raises:
            HTTPException: It names none, or one that was forgotten.
        """
        predictor = given and self.sessions.get(given.credentials)
        if not predictor:
            raise HTTPException(
                401,
                'There is no such session, or none any more: open one by POST /sessions, name it '
                'by "Authorization: Bearer TOKEN", and set the image again.',
                {'WWW-Authenticate': 'Bearer'},
            )
        return OfSession(given.credentials, predictor)

    async def answer(self, session: OfSession, function: Callable, *args):
        """What a function of a session's predictor returns, called when its turn comes."""

        def call():
            try:
                return function(session.predictor, *args)
            finally:
                self.sessions.measure(session.token)

        return await self.model_thread(call)

    async def things(self, session: OfSession, function: Callable, *args) -> dict:
        """What a function says of the image that is set."""

        def of_image(predictor: OVSAMPredictor):
            if not predictor.is_image_set:
                raise HTTPException(409, 'No image is set in this session: PUT /image first.')
            return function(predictor, *args)

        return dict(objects=await self.answer(session, of_image))


def make_app(served: Served) -> FastAPI:
    """The routes, and their description at `/openapi.json`."""
    app = FastAPI(
        title='mmovsam',
        version=__version__,
        description='Cut out what points, boxes and masks prompt, and name it. Open a session, '
        'set its image, and prompt it as often as you like.',
        docs_url=None,  # its page would fetch scripts from another server
        redoc_url=None,
    )
    session_of = Annotated[OfSession, Depends(served.session)]

    @app.get('/health', response_model=messages.HealthAnswer)
    async def health():
        """Tell that the server answers."""
        return dict(model=served.model_name, version=__version__)

    @app.post(
        '/sessions',
        status_code=201,
        response_model=messages.SessionAnswer,
        responses=_problems(400, 401, 408, 413, 422),
    )
    async def open_session(request: messages.SessionRequest | None = None):
        """Open a session, which has an image and names of its own."""
        served.check_password(request and request.password)
        return dict(token=served.sessions.open(), forgotten_after=served.limits.forget_after)

    @app.delete('/sessions', status_code=204, responses=_problems(401))
    async def close_session(session: session_of) -> None:
        """Forget this session, its image and its names."""
        served.sessions.close(session.token)

    @app.put(
        '/image',
        response_model=messages.ImageAnswer,
        responses=OF_IMAGE,
        openapi_extra=dict(
            requestBody=dict(
                required=True,
                description="The image's file: JPEG, PNG, WebP, TIFF, BMP or GIF.",
                content={
                    kind: dict(schema=dict(type='string', format='binary')) for kind in IMAGE_TYPES
                },
            )
        ),
    )
    async def put_image(request: Request, session: session_of):
        """Set the session's image in place of the one before; it is encoded once for all prompts.

        The image is forgotten with the session, or when newer ones need the memory.
        """
        data = await request.body()
        pixels = served.limits.max_pixels
        width, height = await served.answer(session, answers.set_image, data, pixels)
        return dict(width=width, height=height)

    @app.get('/vocabulary', response_model=messages.VocabularyAnswer, responses=OF_SESSION)
    async def get_vocabulary(session: session_of):
        """Tell what things may be called in this session."""
        return dict(names=await served.answer(session, lambda predictor: predictor.vocabulary))

    @app.put('/vocabulary', response_model=messages.VocabularyAnswer, responses=OF_IMAGE)
    async def put_vocabulary(request: messages.VocabularyRequest, session: session_of):
        """Change what things may be called, in any words; the image stays encoded."""
        encoder = served.name_encoder
        names = await served.answer(session, answers.set_names, encoder, request.names)
        return dict(names=names)

    thing_answers = dict(
        response_model=messages.ThingsAnswer, response_model_exclude_unset=True, responses=OF_IMAGE
    )

    @app.post('/prompt', **thing_answers)
    async def prompt(request: messages.PromptRequest, session: session_of):
        """Cut out and name what is prompted."""
        return await served.things(session, answers.prompt, request)

    @app.post('/find', **thing_answers)
    async def find(request: messages.FindRequest, session: session_of):
        """Find all objects of some names, without a click."""
        return await served.things(session, answers.find, request, served.name_encoder)

    @app.post('/everything', **thing_answers)
    async def everything(request: messages.EverythingRequest, session: session_of):
        """Cut out and name everything."""
        return await served.things(session, answers.everything, request)

    app.add_middleware(
        BodyLimit,
        limits=served.limits,
        max_bytes=lambda path: served.limits.max_file_size if path == '/image' else MAX_JSON,
    )
    app.add_exception_handler(StarletteHTTPException, _refusal)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(ValueError, _bad_request)
    app.add_exception_handler(Exception, _failure)
    return app


def _problem(status: int, message: str, headers=None) -> JSONResponse:
    return JSONResponse(dict(error=message), status, headers)


async def _refusal(request: Request, error: StarletteHTTPException) -> JSONResponse:
    message = str(error.detail)
    if message == HTTPStatus(error.status_code).phrase:  # of a route that is not there
        message = f'{message}: {request.method} {request.url.path:.100}. See /openapi.json.'
    return _problem(error.status_code, message, error.headers)


async def _bad_request(_, error: Exception) -> JSONResponse:
    return _problem(400, str(error).encode('ascii', 'backslashreplace').decode())


async def _invalid(_, error: RequestValidationError) -> JSONResponse:
    """The first of the errors, in a sentence."""
    first, *more = error.errors()
    place = '.'.join(str(part) for part in first['loc'] if part != 'body') or 'The request'
    given = '' if first['type'] in ('missing', 'json_invalid') else f', got {first["input"]!a:.200}'
    rest = f' ({len(more)} more like this)' if more else ''
    return _problem(422, f'{place}: {first["msg"]}{given}{rest}. See /openapi.json.')


async def _failure(request: Request, error: Exception) -> JSONResponse:
    logger.error('%s %s failed', request.method, request.url.path, exc_info=error)
    return _problem(500, 'An error of the server; its log has the details.')
