"""Images as people give them: arrays, PIL images and files, all read as the data pipeline does."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np
from PIL import Image

from ..datasets.images import upright, whole_image_size
from ..pixels import decode_image, to_color

_DEEP = 'I', 'F'  # the start of PIL's modes of more than 8 bits


def read_image(
    image, image_format: str = 'RGB', value_range: Sequence[float] | None = None
) -> np.ndarray:
    """An image in the channel order and orientation of MMDetection's pipelines.

    Files are read as `LoadImageFromFile` reads them: turned as their EXIF says, gray ones in three
    equal channels, transparency ignored, deeper ones than 8 bits by `mmovsam.pixels.to_color`.
    Arrays and PIL images are treated alike; PIL itself takes the higher 8 of colors of 16 bits.

    Args:
        image: `(H, W)` or `(H, W, C)` with 1 to 4 channels of any depth, a PIL image, a file, an
            open one, or the bytes of one.
        image_format: `'RGB'` or `'BGR'`, the channel order of an array.
        value_range: The values that are black and white in images of more than 8 bits, such as
            `(0, 4095)`; by default the 0.5th and the 99.5th percentile of each.

    Returns:
        `(H, W, 3)` uint8 BGR.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is truncated, no image, or has no finite value.
    """
    if image_format not in ('RGB', 'BGR'):
        raise ValueError(f"image_format is 'RGB' or 'BGR', not {image_format!r}.")
    if isinstance(image, (str, PathLike)):
        return _read_file(Path(image), value_range)
    if hasattr(image, 'read'):
        image = image.read()
    if isinstance(image, (bytes, bytearray, memoryview)):
        return _decoded(bytes(image), 'The data', value_range)
    if isinstance(image, Image.Image):
        image, image_format = _values_of(image), 'RGB'
    image = to_color(np.asarray(image), value_range)
    return image if image_format == 'BGR' else np.ascontiguousarray(image[..., ::-1])


def _values_of(image: Image.Image) -> np.ndarray:
    try:
        image = upright(image)
    except OSError as error:  # PIL reads a file when its pixels are asked for
        raise ValueError(f'The PIL image cannot be read: {error}. Get it again.') from None
    if image.mode.startswith(_DEEP):
        return np.asarray(image)
    return np.asarray(image.convert('RGB'))


def _read_file(path: Path, value_range: Sequence[float] | None) -> np.ndarray:
    if not path.is_file():
        what = 'is a folder' if path.is_dir() else 'does not exist'
        raise FileNotFoundError(
            f'The image file {path} {what}. The working folder is {Path.cwd()}.'
        )
    return _decoded(path.read_bytes(), str(path), value_range)


def _decoded(data: bytes, name: str, value_range: Sequence[float] | None) -> np.ndarray:
    # OpenCV would fill the missing part of a truncated image with gray.
    image = decode_image(data, value_range) if whole_image_size(data) else None
    if image is None:
        raise ValueError(
            f'{name} is truncated or no image ({len(data)} bytes). Get it again, or convert it '
            'to JPEG or PNG.'
        )
    return image
