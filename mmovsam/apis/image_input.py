"""Images as people give them: arrays, PIL images and files, all read as the data pipeline does."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import mmcv
import numpy as np
from PIL import Image

from ..datasets.images import upright, whole_image_size

_DEEP = 'I;16'  # the start of PIL's modes of 16 bits a pixel
_UNDEFINED = ('I', 'F')  # PIL's modes without a largest brightness


def read_image(image, image_format: str = 'RGB') -> np.ndarray:
    """An image in the channel order and orientation of MMDetection's pipelines.

    Files are read as `LoadImageFromFile` reads them: turned as their EXIF says, gray ones in three
    equal channels, transparency ignored, of 16 bits the higher 8. PIL images are treated alike.

    Args:
        image: `(H, W, 3)` uint8, a PIL image, a file, an open one, or the bytes of one.
        image_format: `'RGB'` or `'BGR'`, the channel order of an array.

    Returns:
        `(H, W, 3)` uint8 BGR.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is truncated, or no image of three channels of 8 bits.
    """
    if image_format not in ('RGB', 'BGR'):
        raise ValueError(f"image_format is 'RGB' or 'BGR', not {image_format!r}.")
    if isinstance(image, (str, PathLike)):
        return _read_file(Path(image))
    if hasattr(image, 'read'):
        image = image.read()
    if isinstance(image, (bytes, bytearray, memoryview)):
        return _decoded(bytes(image), 'The data')
    if isinstance(image, Image.Image):
        image, image_format = _read_pil(image), 'RGB'
    array = np.asarray(image)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or array.size == 0:
        raise ValueError(
            f'An image is (H, W, 3) uint8, got {array.shape} {array.dtype}. {_remedy(array)}'
        )
    return array if image_format == 'BGR' else np.ascontiguousarray(array[..., ::-1])


def _remedy(array: np.ndarray) -> str:
    if array.dtype == np.uint16:
        return 'For 16 bits take the higher 8: (image >> 8).astype(np.uint8).'
    if array.dtype != np.uint8 and array.size:
        return 'Convert it first; a float image of 0 to 1 by (image * 255).astype(np.uint8).'
    if array.ndim == 2 and array.size:
        return 'For a gray one give np.stack([image] * 3, axis=-1).'
    if array.ndim == 3 and array.shape[2] == 4:
        return 'Leave out its transparency: image[..., :3].'
    return 'Convert it first.'


def _read_pil(image: Image.Image) -> Image.Image:
    try:
        image = upright(image)
    except OSError as error:  # PIL reads a file when its pixels are asked for
        raise ValueError(f'The PIL image cannot be read: {error}. Get it again.') from None
    if image.mode.startswith(_DEEP):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in _UNDEFINED:
        raise ValueError(
            f'A PIL image of mode {image.mode!r} does not say what its brightest value is. '
            "Scale it to 8 bits (mode 'L' or 'RGB')."
        )
    return image.convert('RGB')


def _read_file(path: Path) -> np.ndarray:
    if not path.is_file():
        what = 'is a folder' if path.is_dir() else 'does not exist'
        raise FileNotFoundError(
            f'The image file {path} {what}. The working folder is {Path.cwd()}.'
        )
    return _decoded(path.read_bytes(), str(path))


def _decoded(data: bytes, name: str) -> np.ndarray:
    # OpenCV would fill the missing part of a truncated image with gray.
    image = mmcv.imfrombytes(data) if whole_image_size(data) else None
    if image is None:
        raise ValueError(
            f'{name} is truncated or no image ({len(data)} bytes). Get it again, or convert it '
            'to JPEG or PNG.'
        )
    return image
