"""What the page needs of the server besides its description: its files, examples, settings."""

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
    # nothing is fetched from any other server, nor told to one; no other page may frame this one
    'Content-Security-Policy': "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self' blob: data:; base-uri 'none'; frame-ancestors 'none'",
    'Referrer-Policy': 'no-referrer',
    'Cache-Control': 'no-cache',
}


def add_page(app: FastAPI, served: Served, examples: Mapping[str, np.ndarray] | None = None):
    """Have the server's application serve the page at `/`.

    Args:
        app: As `make_app` makes it.
        served: What it serves.
        examples: Pictures to choose from, `(H, W, 3)` uint8 RGB each, by their titles: what stands
            before a colon names exported files.
    """
    files = {title: _encoded(image, 'PNG') for title, image in (examples or {}).items()}
    encoder = served.name_encoder
    names = served.predictor.vocabulary or ()
    settings = dict(
        names=names if len(names) <= encoder.max_names else [],
        num_names=len(names),
        vocabularies={title: built.names for title, built in encoder.built.items()},
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
        """A picture of a kind that browsers do not show, as one that they do."""
        data = await request.body()

        def decoded() -> bytes:
            pixels, value_range = served.limits.max_pixels, served.predictor.value_range
            return _encoded(read_sent_image(data, 'The image', pixels, value_range), 'JPEG')

        return Response(await served.model_thread(decoded), media_type='image/jpeg')

    app.mount('/page', StaticFiles(directory=STATIC))


def _encoded(image: np.ndarray, format: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, format, quality=92)
    return stream.getvalue()
