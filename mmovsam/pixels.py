"""Images of any depth and number of channels as three channels of 8 bits."""

import cv2
import mmcv
import mmengine.fileio
import numpy as np
from mmcv.transforms import LoadImageFromFile
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from .heif import heif_kind, open_heif

PERCENTILES = 0.5, 99.5
_SAMPLE_SIZE = 1_000_000  # pixels for percentiles
_UNITS = 1 / 255, 1, 256, 257  # factors by which programs convert 8 bits to larger types
_ANY_DEPTH = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
ORIENTATION = 0x0112  # EXIF's tag
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class NoImageError(ValueError):
    """A file is no image; the message names it."""


def to_color(pixels, value_range=None):
    """Convert an image to three channels of 8 bits.

    Values of 8 bits are kept, also those in a larger type: integers up to 255, or these divided by
    255 or multiplied by 256 or 257. Other values, such as 12 of 16 bits or floats, are scaled so
    that the 0.5th and 99.5th percentiles of all channels become 0 and 255.

    Args:
        pixels (numpy.ndarray): `(H, W)` or `(H, W, 1)` gray, `(H, W, 2)` gray and alpha,
            `(H, W, 3)`, or `(H, W, 4)` with alpha, which is ignored. Integers, floats or bool.
        value_range (tuple[float, float], optional): Values that become 0 and 255 instead of the
            percentiles, such as `(0, 4095)`. It has no effect on uint8.

    Returns:
        numpy.ndarray: `(H, W, 3)` uint8, channels in their order.

    Raises:
        ValueError: If it has another shape or type, no finite value, or the range is invalid.
    """
    low, high = checked_range(value_range) or (None, None)
    gray = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (1, 2))
    if (
        pixels.size == 0
        or pixels.dtype.kind not in 'buif'
        or not (gray or (pixels.ndim == 3 and pixels.shape[2] in (3, 4)))
    ):
        raise ValueError(
            f'An image is (H, W), or (H, W, C) with 1 to 4 channels, of numbers; got '
            f'{pixels.shape} {pixels.dtype}. Of more channels choose three: image[..., [0, 1, 2]].'
        )
    pixels = pixels.reshape(*pixels.shape[:2], -1)[..., : 1 if gray else 3]
    if pixels.dtype != np.uint8:
        pixels = _to_8_bits(pixels, low, high)
    return pixels.repeat(3, axis=2) if gray else pixels


def checked_range(value_range):
    """A range as two floats, or None; a `ValueError` if it is invalid, such as `(255, 0)`."""
    if value_range is None:
        return None
    try:
        low, high = map(float, value_range)
    except (TypeError, ValueError):
        low = high = 0.0
    if not (np.isfinite([low, high]).all() and low < high):
        raise ValueError(
            f'value_range is {value_range!r}, expected a lower and a higher value, such as '
            '(0, 4095).'
        )
    return low, high


def range_of(pixels):
    """The values that `to_color` maps to 0 and 255 in an image of more than 8 bits.

    Values that are not finite are ignored.

    Raises:
        ValueError: If none is finite.
    """
    sample = pixels.reshape(-1)[:: max(1, pixels.size // _SAMPLE_SIZE)]
    sample = sample.astype(np.result_type(pixels, np.float32))
    sample = sample[np.isfinite(sample)]
    if not len(sample):
        raise ValueError('The image has no finite value.')
    units = (unit for unit in _UNITS if _is_8_bit(sample, unit))
    unit = next((unit for unit in units if _is_8_bit(_finite_values(pixels), unit)), None)
    low, high = np.percentile(sample, PERCENTILES) if unit is None else (0, 255 * unit)
    if low == high:
        low, high = sample.min(), sample.max()
    return float(low), float(high)


def decode_image(data, value_range=None):
    """Decode image bytes of any depth and apply the EXIF orientation.

    Args:
        data (bytes): The file's content.
        value_range (tuple[float, float], optional): As for `to_color`.

    Returns:
        numpy.ndarray | None: `(H, W, 3)` uint8 BGR; None if OpenCV cannot decode it.
    """
    image = read_values(data)
    return None if image is None else to_color(image, value_range)


def read_values(data):
    """Decode image bytes and apply the EXIF orientation, keeping the depth.

    Args:
        data (bytes): The file's content.

    Returns:
        numpy.ndarray | None: `(H, W, 3)` BGR, `(H, W)` for 32 bits and more; None if OpenCV cannot
        decode it. HEIC and AVIF are decoded by Pillow, in 8 bits.
    """
    if heif_kind(data):
        try:
            image = upright(open_heif(data)).convert('RGB')
        except Image.DecompressionBombError as error:
            raise ValueError(f'The image is too large: {error}') from None
        except (ImportError, MemoryError):  # not the image's fault
            raise
        except Exception:
            return None
        return np.ascontiguousarray(np.asarray(image)[..., ::-1])
    for flag in (_ANY_DEPTH, 'unchanged'):  # the first does not read gray of 32 bits
        try:
            image = mmcv.imfrombytes(data, flag=flag, backend='cv2')
        except cv2.error:  # a size of 0, or far too large
            image = None
        if image is not None:
            return image
    return None


def upright(image):
    """A PIL image with its EXIF orientation applied, if that can be read."""
    image.load()
    try:
        turn = TURNS.get(image.getexif().get(ORIENTATION))
    except Exception:  # Pillow raises whatever the broken tags led to
        turn = None
    return image if turn is None else image.transpose(turn)


def tiff_tags(file):
    """The integer tags of the first image of a TIFF file, open at its start.

    Returns:
        dict[int, tuple[int, ...]]: Values by tag numbers; empty for other or damaged files.
    """
    header = file.read(16)
    try:
        is_big_tiff = header[2:3] == b'+'
        tags = ImageFileDirectory_v2(header if is_big_tiff else header[:8])
        file.seek(tags.next)
        tags.load(file)
        values = {tag: tags.get(tag) for tag in tags}
    except Exception:  # Pillow raises whatever the broken bytes led to
        return {}
    values = {tag: value if isinstance(value, tuple) else (value,) for tag, value in values.items()}
    return {
        tag: value
        for tag, value in values.items()
        if value and all(isinstance(number, int) for number in value)
    }


def load_all_depths(pipeline, value_range=None):
    """Make the `LoadImageFromFile` of a pipeline convert images of any depth by `to_color`.

    One with another backend or color type is left alone.

    Args:
        pipeline (mmengine.dataset.Compose): Changed in place.
        value_range (tuple[float, float], optional): As for `to_color`.
    """
    checked_range(value_range)
    for index, transform in enumerate(pipeline.transforms):
        if _is_replaceable(transform):
            pipeline.transforms[index] = _LoadAnyDepth(transform, value_range)
        elif _is_replaceable(getattr(transform, 'from_file', None)):  # InferencerLoader
            transform.from_file = _LoadAnyDepth(transform.from_file, value_range)


def _is_replaceable(loader):
    return (
        type(loader) is LoadImageFromFile
        and loader.color_type == 'color'
        and loader.imdecode_backend == 'cv2'
        and loader.file_client_args is None
    )


class _LoadAnyDepth(LoadImageFromFile):
    """`LoadImageFromFile` for images of any depth, by path or from `img_bytes`."""

    def __init__(self, loader, value_range):
        vars(self).update(vars(loader))
        self.value_range = value_range

    def transform(self, results):
        """Load the image into `results`."""
        path = results['img_path']
        results = dict(results)
        data = results.pop('img_bytes', None)
        try:
            if data is None:
                data = mmengine.fileio.get(path, backend_args=self.backend_args)
            try:
                image = decode_image(data, self.value_range)
            except ValueError as error:
                raise NoImageError(f'{path}: {error}') from None
            if image is None:
                raise NoImageError(f'{path} is truncated or no image ({len(data)} bytes)')
        except Exception:
            if self.ignore_empty:
                return None
            raise
        if self.to_float32:
            image = image.astype(np.float32)
        return dict(results, img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2])


def _to_8_bits(pixels, low, high):
    if low is None:
        low, high = range_of(pixels)
    dtype = np.result_type(pixels, np.float32)
    if pixels.dtype == np.uint16:  # by a lookup table
        return _scale(np.arange(1 << 16, dtype=dtype), low, high)[pixels]
    return _scale(pixels.astype(dtype), low, high)


def _scale(values, low, high):
    values = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
    factor = 255 / (high - low) if high > low else 0
    return np.rint((np.clip(values, low, high) - low) * factor).astype(np.uint8)


def _finite_values(pixels):
    """The finite values of an image, for uint16 the distinct ones."""
    if pixels.dtype != np.uint16:
        return pixels[np.isfinite(pixels)]
    is_present = np.zeros(1 << 16, bool)
    is_present[pixels] = True
    return np.flatnonzero(is_present)


def _is_8_bit(values, unit):
    """Whether all values are multiples of `unit` by 0 to 255, and not all 0."""
    codes = np.rint(values / unit)
    are_multiples = np.abs(codes * unit - values).max() <= unit / 1000
    return are_multiples and codes.min() >= 0 and 0 < codes.max() <= 255
