"""Routes of the web page: its files, examples and settings."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from PIL import Image

from ..apis.image_input import read_sent_image
from .served import Served

STATIC = Path(__file__).parent / 'static'
HEADERS = {
    # no requests to other servers, and no embedding in other pages
    'Content-Security-Policy': "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self' blob: data:; base-uri 'none'; frame-ancestors 'none'",
    'Referrer-Policy': 'no-referrer',
    'Cache-Control': 'no-cache',
}


def add_page(app: FastAPI, served: Served, examples: Mapping[str, np.ndarray] | None = None):
    """Add the page at `/` to an application of `make_app`.

    Args:
        app: The application.
        served: The model that it serves.
        examples: Example images `(H, W, 3)` uint8 RGB by title; the part of a title before a colon
            names exported files.
    """
    files = {title: _encode(image, 'PNG') for title, image in (examples or {}).items()}
    encoder = served.name_encoder
    names = served.predictor.vocabulary or ()
    settings = dict(
        names=names if len(names) <= encoder.max_names else [],
        num_names=len(names),
        vocabularies={title: vocabulary.names for title, vocabulary in encoder.built.items()},
        examples=list(files),
    )

    @app.get('/', include_in_schema=False)
    async def index() -> FileResponse:
        return FileResponse(STATIC / 'index.html', headers=HEADERS)

    @app.get('/page/settings', include_in_schema=False)
    async def get_settings() -> dict:
        return settings

    @app.get('/page/examples/{number}', include_in_schema=False)
    async def get_example(number: int) -> Response:
        if not 0 <= number < len(files):
            raise HTTPException(404, f'There is no example {number}.')
        return Response(list(files.values())[number], media_type='image/png')

    @app.post('/page/decode', include_in_schema=False, dependencies=[Depends(served.session)])
    async def decode(request: Request) -> Response:
        """Convert an image of a format that browsers do not show to JPEG."""
        data = await request.body()

        def to_jpeg() -> bytes:
            pixels, value_range = served.limits.max_pixels, served.predictor.value_range
            return _encode(read_sent_image(data, 'The image', pixels, value_range), 'JPEG')

        return Response(await served.model_thread(to_jpeg), media_type='image/jpeg')

    app.mount('/page', StaticFiles(directory=STATIC))


def _encode(image: np.ndarray, format: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, format, quality=92)
    return stream.getvalue()
