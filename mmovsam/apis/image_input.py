"""Reads images from files, bytes, arrays and PIL images, as MMDetection's pipelines do."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from os import PathLike

import numpy as np
from PIL import Image

from ..datasets.images import no_image, whole_image_size
from ..heif import heif_kind, open_heif, require_heif_reader
from ..pixels import decode_image, tiff_tags, to_color, upright
from ..validation import require_file

FORMATS = ('BMP', 'GIF', 'JPEG', 'PNG', 'TIFF', 'WEBP')  # some of Pillow's others start programs
TIFF_SIZE = 256, 257  # tags of width and height


def read_image(
    image, image_format: str = 'RGB', value_range: Sequence[float] | None = None
) -> np.ndarray:
    """Read an image as MMDetection's `LoadImageFromFile` does.

    The EXIF orientation is applied, grayscale is converted to three channels, transparency is
    ignored, and images of more than 8 bits are converted by `mmovsam.pixels.to_color`. HEIC needs
    the extra `heic`, AVIF a Pillow that reads it.

    Args:
        image: `(H, W)` or `(H, W, C)` with 1 to 4 channels of any depth, a PIL image, a file name,
            an open file, or the bytes of a file.
        image_format: `'RGB'` or `'BGR'`, the channel order of an array.
        value_range: The values that are black and white in images of more than 8 bits, such as
            `(0, 4095)`; by default the 0.5th and the 99.5th percentile of each.

    Returns:
        `(H, W, 3)` uint8 BGR.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The image is truncated, not an image, or has no finite value.
    """
    if image_format not in ('RGB', 'BGR'):
        raise ValueError(f"image_format is 'RGB' or 'BGR', not {image_format!r}.")
    name = 'The data'
    if isinstance(image, (str, PathLike)):
        name, image = str(image), require_file(image, 'image file').read_bytes()
    elif hasattr(image, 'read'):
        name = f'The open file {getattr(image, "name", "")}'.strip()
        image = image.read()
        if not image:
            raise ValueError(f'{name} is at its end: seek(0) first.')
    if isinstance(image, (bytes, bytearray, memoryview)):
        data = bytes(image)
        require_heif_reader(data, name)
        # OpenCV would fill the missing part of a truncated image with gray.
        image = decode_image(data, value_range) if whole_image_size(data) else None
        if image is None:
            raise ValueError(f'{name} is {no_image(data)}.')
        return image
    if isinstance(image, Image.Image):
        try:
            image, image_format = upright(image), 'RGB'
        except OSError as error:  # PIL reads a file when its pixels are asked for
            raise ValueError(f'The PIL image cannot be read: {error}. Get it again.') from None
        if not image.mode.startswith(('I', 'F')):  # modes of more than 8 bits
            image = image.convert('RGB')
    image = to_color(np.asarray(image), value_range)
    return image if image_format == 'BGR' else np.ascontiguousarray(image[..., ::-1])


def read_sent_image(
    data: bytes, name: str, max_pixels: int, value_range: Sequence[float] | None = None
) -> np.ndarray:
    """Read an untrusted image, `(H, W, 3)` uint8 RGB, from the bytes of a file.

    `name` is what error messages call it. It is not decoded if it has more than `max_pixels`.

    Raises:
        ValueError: The image is truncated, not an image, of another format, or too large.
    """
    limit = f'the limit here is {max_pixels / 1e6:g} million pixels. Make it smaller.'
    require_heif_reader(data, name)
    image = None
    try:
        image = (
            open_heif(data) if heif_kind(data) else Image.open(io.BytesIO(data), formats=FORMATS)
        )
        width, height = image.size
    except Image.DecompressionBombError as error:
        raise ValueError(f'{name} is too large ({error}); {limit}') from None
    except (OSError, ValueError, SyntaxError, EOFError, RuntimeError):
        tags = tiff_tags(io.BytesIO(data))  # Pillow reads no colors of 32 bits
        width, height = (tags.get(tag, (0,))[0] for tag in TIFF_SIZE)
        if data[:4] == b'\x89PNG' and len(data) > 24:  # and no text chunks above a megabyte
            width, height = struct.unpack('>II', data[16:24])
        if not width * height:
            raise ValueError(
                f'{name} is {no_image(data)}. Images here are {", ".join(FORMATS)}, AVIF, HEIC.'
            ) from None
    if width * height > max_pixels:
        raise ValueError(f'{name} has {width}x{height} pixels; {limit}')
    try:
        # OpenCV before 4.11 does not read GIF
        is_gif = image is not None and image.format == 'GIF'
        bgr = read_image(upright(image) if is_gif else data, value_range=value_range)
    except (OSError, ValueError) as error:
        raise ValueError(f'{name}: {error}') from error
    return np.ascontiguousarray(bgr[..., ::-1])
