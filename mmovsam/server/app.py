"""The server as an ASGI application."""

import hashlib
import logging
from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from ..version import __version__
from . import answers, messages, x_anylabeling
from .limits import MAX_JSON, BodyLimit
from .served import IMAGE_PROBLEMS, SESSION_PROBLEMS, ClientSession, Served, problems

IMAGE_TYPES = ('application/octet-stream', 'image/jpeg', 'image/png', 'image/webp', 'image/tiff')

logger = logging.getLogger(__name__)


def make_app(served: Served) -> FastAPI:
    """The application, with its OpenAPI description at `/openapi.json`."""
    app = FastAPI(
        title='mmovsam',
        version=__version__,
        description='Segment and name objects by points, boxes and masks. Open a session, set its '
        'image, and send prompts.',
        docs_url=None,  # would load scripts from another server
        redoc_url=None,
    )
    session_of = Annotated[ClientSession, Depends(served.session)]

    @app.get('/health', response_model=messages.HealthAnswer)
    async def health():
        """Report that the server is up."""
        return dict(model=served.model_name, version=__version__)

    @app.post(
        '/sessions',
        status_code=201,
        response_model=messages.SessionAnswer,
        responses=problems(400, 401, 408, 413, 422),
    )
    async def open_session(request: messages.SessionRequest | None = None):
        """Open a session, which has an image and names of its own."""
        served.check_password(request and request.password)
        return dict(token=served.sessions.open(), forgotten_after=served.limits.forget_after)

    @app.delete('/sessions', status_code=204, responses=problems(401))
    async def close_session(session: session_of) -> None:
        """Forget this session, its image and its names."""
        served.sessions.close(session.key)

    @app.put(
        '/image',
        response_model=messages.ImageAnswer,
        responses=IMAGE_PROBLEMS,
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
        return dict(width=width, height=height, sha256=hashlib.sha256(data).hexdigest())

    @app.get('/vocabulary', response_model=messages.VocabularyAnswer, responses=SESSION_PROBLEMS)
    async def get_vocabulary(session: session_of):
        """Return the names of this session."""
        return dict(names=await served.answer(session, lambda predictor: predictor.vocabulary))

    @app.put('/vocabulary', response_model=messages.VocabularyAnswer, responses=IMAGE_PROBLEMS)
    async def put_vocabulary(request: messages.VocabularyRequest, session: session_of):
        """Replace the names of this session; the image stays encoded."""
        classifier = await served.name_thread(
            answers.read_names, served.name_encoder, request.names
        )
        return dict(names=await served.answer(session, answers.set_names, classifier))

    route_options = dict(
        response_model=messages.ThingsAnswer,
        response_model_exclude_unset=True,
        responses=IMAGE_PROBLEMS,
    )

    @app.post('/prompt', **route_options)
    async def prompt(request: messages.PromptRequest, session: session_of):
        """Segment and name objects by prompts."""
        return await served.things(session, answers.prompt, request)

    @app.post('/find', **route_options)
    async def find(request: messages.FindRequest, session: session_of):
        """Find all objects with some names."""
        return await served.things(session, answers.find, request, served.name_encoder)

    @app.post('/everything', **route_options)
    async def everything(request: messages.EverythingRequest, session: session_of):
        """Segment and name all objects."""
        return await served.things(session, answers.everything, request)

    app.include_router(x_anylabeling.make_router(served))
    size = served.limits.max_file_size
    base64_size = size * 4 // 3 + MAX_JSON
    sizes = {'/image': size, '/page/decode': size, '/v1/predict': base64_size}
    app.add_middleware(
        BodyLimit, limits=served.limits, max_bytes=lambda path: sizes.get(path, MAX_JSON)
    )
    app.add_exception_handler(HTTPException, _refusal)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(ValueError, _bad_request)
    app.add_exception_handler(Exception, _failure)
    return app


def _problem(status: int, message: str, headers=None) -> JSONResponse:
    return JSONResponse(dict(error=message), status, headers)


async def _refusal(request: Request, error: HTTPException) -> JSONResponse:
    path, message, headers = request.url.path, str(error.detail), error.headers
    if message == HTTPStatus(error.status_code).phrase:  # of an unknown route
        message = f'{message}: {request.method} {path:.100}. See /openapi.json.'
    paths = request.app.openapi()['paths']
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED and path in paths:
        headers = dict(Allow=', '.join(sorted(paths[path])).upper())  # Starlette lists one only
    return _problem(error.status_code, message, headers)


async def _bad_request(_, error: Exception) -> JSONResponse:
    return _problem(400, str(error).encode('ascii', 'backslashreplace').decode())


async def _invalid(_, error: RequestValidationError) -> JSONResponse:
    """Describe the first error."""
    first, *more = error.errors()
    field = '.'.join(str(part) for part in first['loc'] if part != 'body') or 'The request'
    value = '' if first['type'] in ('missing', 'json_invalid') else f', got {first["input"]!a:.200}'
    rest = f' ({len(more)} more like this)' if more else ''
    return _problem(422, f'{field}: {first["msg"]}{value}{rest}. See /openapi.json.')


async def _failure(request: Request, error: Exception) -> JSONResponse:
    logger.error('%s %s failed', request.method, request.url.path, exc_info=error)
    return _problem(500, 'An error of the server; its log has the details.')
