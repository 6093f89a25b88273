"""Images that somebody sends, to the page or to the backend of Label Studio."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from ..datasets.images import upright
from .image_input import read_image

FORMATS = ('BMP', 'GIF', 'JPEG', 'PNG', 'TIFF', 'WEBP')  # PIL knows others that start programs


def read_sent_image(
    data: bytes, name: str, max_pixels: int, value_range: Sequence[float] | None = None
) -> np.ndarray:
    """Read an image that is not trusted.

    Args:
        data: The file's bytes.
        name: What errors call it.
        max_pixels: How many it may have. What has more is not decoded.
        value_range: Of images of more than 8 bits, see `mmovsam.pixels.to_color`.

    Returns:
        `(H, W, 3)` uint8 RGB, turned as its EXIF says.

    Raises:
        ValueError: It is truncated, no image, of another format, or too large.
    """
    limit = f'the limit here is {max_pixels / 1e6:g} million pixels. Make it smaller.'
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise ValueError(f'{name} is too large ({error}); {limit}') from None
    except (OSError, ValueError, SyntaxError):
        raise ValueError(
            f'{name} is truncated or no image of the kinds {", ".join(FORMATS)} ({len(data)} '
            'bytes). Get it again, or convert it to JPEG or PNG.'
        ) from None
    width, height = image.size
    if width * height > max_pixels:
        raise ValueError(f'{name} has {width}x{height} pixels; {limit}')
    try:
        # OpenCV before 4.11 does not read GIF
        bgr = read_image(upright(image) if image.format == 'GIF' else data, value_range=value_range)
    except (OSError, ValueError) as error:
        raise ValueError(f'{name}: {error}') from error
    return np.ascontiguousarray(bgr[..., ::-1])
