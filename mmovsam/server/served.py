"""A model that sessions share."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Hashable
from http import HTTPStatus
from typing import Annotated, NamedTuple

from fastapi import Depends, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from ..apis import OVSAMPredictor
from ..apis.name_encoder import NameEncoder
from .limits import Limits, ModelThread
from .messages import Problem
from .sessions import Sessions

_BEARER = HTTPBearer(auto_error=False, description='The token that POST /sessions gave.')


def problems(*statuses: int) -> dict:
    """Error statuses of a route, for its OpenAPI description."""
    return {
        status: dict(model=Problem, description=HTTPStatus(status).phrase) for status in statuses
    }


SESSION_PROBLEMS = problems(401, 503)
IMAGE_PROBLEMS = {**SESSION_PROBLEMS, **problems(400, 408, 409, 413, 422)}


class ClientSession(NamedTuple):
    """The session of a request."""

    key: Hashable
    predictor: OVSAMPredictor


class Served:
    """A model that sessions share, which runs one request at a time.

    Args:
        predictor: Forked for each session, with its own image.
        name_encoder: Of the same model.
        limits: Of the server.
        model_name: Shown to clients.
        password: Required to open a session; None for an open server.

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
        self.name_thread = ModelThread(
            limits.max_waiting
        )  # so that clicks do not wait for the encoding of names

    def check_password(self, password: str | None) -> None:
        """Compare a password with the server's, in constant time.

        Raises:
            HTTPException: It is wrong.
        """
        if self.password is not None and not hmac.compare_digest(
            (password or '').encode(), self.password.encode()
        ):
            raise HTTPException(401, 'This server asks for its password: give the right one.')

    def session(
        self, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]
    ) -> ClientSession:
        """The session of a request.

        Raises:
            HTTPException: It has none, or one that was dropped.
        """
        token = credentials and credentials.credentials
        predictor = token and self.sessions.get(token)
        if not predictor:
            raise HTTPException(
                401,
                'There is no such session, or none any more: open one by POST /sessions, name it '
                'by "Authorization: Bearer TOKEN", and set the image again.',
                {'WWW-Authenticate': 'Bearer'},
            )
        return ClientSession(token, predictor)

    def session_of_image(self, digest: str) -> ClientSession:
        """The common session of all clients that send an image of this digest with each request.

        Its key is a tuple, which no client's token can be.
        """
        key = 'image', digest
        if self.sessions.get(key) is None:
            self.sessions.open(key)
        return ClientSession(key, self.sessions.get(key))

    async def answer(self, session: ClientSession, function: Callable, *args):
        """Call a function with a session's predictor when its turn comes."""

        def call():
            try:
                return function(session.predictor, *args)
            finally:
                self.sessions.measure(session.key)

        return await self.model_thread(call)

    async def things(self, session: ClientSession, function: Callable, *args) -> dict:
        """The objects that a function returns for the image of a session."""

        def call(predictor: OVSAMPredictor):
            if not predictor.is_image_set:
                raise HTTPException(409, 'No image is set in this session: PUT /image first.')
            return function(predictor, *args)

        return dict(objects=await self.answer(session, call))
