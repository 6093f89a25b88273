"""Limits of the server: sizes of requests, their memory, and the queue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from fastapi import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_JSON = 4 * 2**20  # bytes; parsed, they take about twenty times as much


@dataclass(frozen=True)
class Limits:
    """The limits of a server.

    Raises:
        ValueError: A limit is not positive.
    """

    max_file_size: int = 20 * 2**20
    """Bytes of an image file."""
    max_pixels: int = 64 * 10**6
    """Pixels of an image."""
    max_memory: int = 2**30
    """Bytes of the encoded images and names of all sessions, see `Sessions`."""
    max_uploads: int = 2**28
    """Bytes of all requests being received or waiting."""
    max_waiting: int = 100
    """Requests waiting for the model."""
    forget_after: float = 3600.0
    """Seconds without use after which a session is dropped."""
    upload_seconds: float = 60.0
    """Seconds for a client to send its request."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise ValueError(f'{name} must be above 0, not {value}.')


class BodyLimit:
    """ASGI middleware that rejects requests that are too large, too slow or too many.

    Args:
        app: The application.
        limits: Its limits.
        max_bytes: Returns the limit of a request by its path.
    """

    def __init__(self, app: ASGIApp, limits: Limits, max_bytes: Callable[[str], int]) -> None:
        self.app = app
        self.limits = limits
        self.max_bytes = max_bytes
        self.under_way = 0  # bytes of all current requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As an ASGI application."""
        if scope['type'] != 'http':
            await self.app(scope, receive, send)
            return
        limit = self.max_bytes(scope['path'])
        deadline = asyncio.get_running_loop().time() + self.limits.upload_seconds
        received, complete = 0, False

        async def limited_receive() -> Message:
            nonlocal received, complete
            if complete:
                return await receive()
            try:
                seconds = max(deadline - asyncio.get_running_loop().time(), 0)
                message = await asyncio.wait_for(receive(), seconds)
            except asyncio.TimeoutError:
                raise HTTPException(
                    408, f'The request took longer than {self.limits.upload_seconds:g} s to send.'
                ) from None
            size = len(message.get('body', b''))
            received += size
            self.under_way += size
            complete = not message.get('more_body', False)
            if received > limit:
                raise HTTPException(
                    413,
                    f'A request to {scope["path"]:.100} has {limit / 2**20:g} MB at most; this one '
                    'is larger. Make it smaller.',
                )
            if self.under_way > self.limits.max_uploads:
                raise HTTPException(
                    503, 'Too many images are being sent. Try again.', {'Retry-After': '1'}
                )
            return message

        try:
            await self.app(scope, limited_receive, send)
        finally:
            self.under_way -= received


class ModelThread:
    """Runs calls of the model in order, in one thread: PyTorch has a thread pool for each caller.

    Args:
        max_waiting: Number of waiting calls from which on others are rejected.
    """

    def __init__(self, max_waiting: int) -> None:
        self.max_waiting = max_waiting
        self.waiting = 0
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix='model')

    async def __call__(self, function: Callable, *args):
        """Call a function when its turn comes.

        Raises:
            HTTPException: Too many calls are waiting.
        """
        if self.waiting >= self.max_waiting:
            raise HTTPException(
                503, f'{self.waiting} requests wait for the model. Try again.', {'Retry-After': '5'}
            )
        self.waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, function, *args)
        finally:
            self.waiting -= 1
