"""Pictures that come in and go out: uploaded files, and what a browser shows."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

SHOWN_SIDE = 1600


def read_file(path: str | Path) -> bytes:
    """What is in a file that somebody sent.

    Raises:
        FileNotFoundError: It is gone.
    """
    path = Path(path)
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f'{path.name} is gone from the server: send it again.') from None


def data_url(image: np.ndarray, max_side: int = SHOWN_SIDE) -> str:
    """A picture `(H, W, 3)` uint8 RGB, made smaller if it is larger, as a browser takes it."""
    scale = max_side / max(image.shape[:2])
    if scale < 1:
        height, width = (max(round(side * scale), 1) for side in image.shape[:2])
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return as_data_url(jpeg(image), 'image/jpeg')


def jpeg(image: np.ndarray, quality: int = 92) -> bytes:
    """A picture `(H, W, 3)` uint8 RGB as a file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, 'JPEG', quality=quality)
    return file.getvalue()


def as_data_url(content: bytes, media_type: str) -> str:
    """A file as an address that holds all of it."""
    return f'data:{media_type};base64,{base64.b64encode(content).decode()}'
