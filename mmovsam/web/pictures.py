"""Pictures that come in and go out: uploaded files, and what a browser shows."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ..apis.image_input import read_image

FORMATS = ('JPEG', 'PNG', 'WEBP', 'BMP', 'TIFF', 'GIF')
SHOWN_SIDE = 1600


def read_picture(
    path: str | Path, max_pixels: int, value_range: Sequence[float] | None = None
) -> np.ndarray:
    """Read a file that somebody sent.

    Args:
        path: The file; its name is told in errors.
        max_pixels: How many it may have. What has more is not decoded.
        value_range: Of pictures of more than 8 bits, see `mmovsam.pixels.to_color`.

    Returns:
        `(H, W, 3)` uint8 RGB.

    Raises:
        FileNotFoundError: It is gone.
        ValueError: It is truncated, no picture, of another format, or too large.
    """
    path = Path(path)
    try:
        # Other formats stay closed: some of PIL's readers start programs.
        with Image.open(path, formats=FORMATS) as image:
            width, height = image.size
    except FileNotFoundError:
        raise FileNotFoundError(f'{path.name} is gone from the server: send it again.') from None
    except Image.DecompressionBombError as error:
        raise ValueError(
            f'{path.name} is too large ({error}); at most {max_pixels / 1e6:g} million pixels fit. '
            'Make it smaller.'
        ) from error
    except (OSError, ValueError, SyntaxError) as error:
        raise ValueError(
            f'{path.name} is truncated or no picture ({", ".join(FORMATS)}): get it again, or '
            'convert it to JPEG or PNG.'
        ) from error
    if width * height > max_pixels:
        raise ValueError(
            f'{path.name} has {width} x {height} pixels, {width * height / 1e6:.1f} million; at '
            f'most {max_pixels / 1e6:g} million fit. Make it smaller.'
        )
    try:
        return np.ascontiguousarray(read_image(path, value_range=value_range)[..., ::-1])
    except ValueError as error:
        # It names the path on the server, which is nobody's business.
        raise ValueError(str(error).replace(str(path), path.name)) from error


def data_url(image: np.ndarray, max_side: int = SHOWN_SIDE) -> str:
    """A picture as a browser takes it in place of an address.

    Args:
        image: `(H, W, 3)` uint8 RGB.
        max_side: Larger ones are made smaller.
    """
    scale = max_side / max(image.shape[:2])
    if scale < 1:
        height, width = (max(round(side * scale), 1) for side in image.shape[:2])
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return as_data_url(jpeg(image), 'image/jpeg')


def jpeg(image: np.ndarray, quality: int = 92) -> bytes:
    """A picture as a file.

    Args:
        image: `(H, W, 3)` uint8 RGB.
        quality: From 1 to 100.
    """
    file = io.BytesIO()
    Image.fromarray(image).save(file, 'JPEG', quality=quality)
    return file.getvalue()


def as_data_url(content: bytes, media_type: str) -> str:
    """A file as an address that holds all of it."""
    return f'data:{media_type};base64,{base64.b64encode(content).decode()}'
