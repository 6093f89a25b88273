"""A model that sessions share, one request after another."""

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
    """Statuses that a route may answer with, for its description."""
    return {
        status: dict(model=Problem, description=HTTPStatus(status).phrase) for status in statuses
    }


OF_SESSION = problems(401, 503)
OF_IMAGE = {**OF_SESSION, **problems(400, 408, 409, 413, 422)}


class OfSession(NamedTuple):
    """A request's session."""

    key: Hashable
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
        self.name_thread = ModelThread(limits.max_waiting)  # no click waits for a thousand names

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

    def session_of_picture(self, digest: str) -> OfSession:
        """The session that all have in common who send a picture of this digest with each request.

        Its key is no text, so no client's token names it.
        """
        key = 'picture', digest
        if self.sessions.get(key) is None:
            self.sessions.open(key)
        return OfSession(key, self.sessions.get(key))

    async def answer(self, session: OfSession, function: Callable, *args):
        """What a function of a session's predictor returns, called when its turn comes."""

        def call():
            try:
                return function(session.predictor, *args)
            finally:
                self.sessions.measure(session.key)

        return await self.model_thread(call)

    async def things(self, session: OfSession, function: Callable, *args) -> dict:
        """What a function says of the image that is set."""

        def of_image(predictor: OVSAMPredictor):
            if not predictor.is_image_set:
                raise HTTPException(409, 'No image is set in this session: PUT /image first.')
            return function(predictor, *args)

        return dict(objects=await self.answer(session, of_image))
