"""Pixels of any depth and number of channels as networks read them: three channels of 8 bits."""

import cv2
import mmcv
import mmengine.fileio
import numpy as np
from mmcv.transforms import LoadImageFromFile
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from .heif import heif_kind, open_heif

PERCENTILES = 0.5, 99.5
_SAMPLE = 1_000_000  # pixels that percentiles are taken of
_STEPS = 1 / 255, 1, 256, 257  # of 8 bits in a larger type, as programs convert them
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


def to_color(pixels, value_range=None):
    """An image of any depth in three channels of 8 bits.

    8 bits stay as they are, those in a larger type too: whole numbers up to 255, or these divided
    by 255 or multiplied by 256 or 257. Of everything else, be it 12 of 16 bits or floating-point
    numbers, the range from the 0.5th to the 99.5th percentile of the image becomes 0 to 255, the
    same for all channels.

    Args:
        pixels (numpy.ndarray): `(H, W)` or `(H, W, 1)`, gray; `(H, W, 2)`, gray and transparency;
            `(H, W, 3)`; or `(H, W, 4)` with transparency, which is ignored. Whole numbers,
            floating-point numbers or bool.
        value_range (tuple[float, float], optional): The values that become 0 and 255, in place of
            the percentiles, such as `(0, 4095)`. Images of uint8 are not changed by it.

    Returns:
        numpy.ndarray: `(H, W, 3)` uint8, channels in their order.

    Raises:
        ValueError: If it has another shape or type, no finite value, or the range is none.
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
    """A range of values, or None.

    Args:
        value_range (Sequence[float] | None): The lowest and the highest value.

    Returns:
        tuple[float, float] | None

    Raises:
        ValueError: If it is none, such as `(255, 0)`.
    """
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
    """The values that are black and white in an image of more than 8 bits, see `to_color`.

    Args:
        pixels (numpy.ndarray): Of any shape; values that are not finite do not count.

    Returns:
        tuple[float, float]: The same value twice where there is no other.

    Raises:
        ValueError: If none is finite.
    """
    sample = pixels.reshape(-1)[:: max(1, pixels.size // _SAMPLE)]
    sample = sample.astype(np.result_type(pixels, np.float32))
    sample = sample[np.isfinite(sample)]
    if not len(sample):
        raise ValueError('The image has no finite value.')
    units = (unit for unit in _STEPS if _are_counts(sample, unit))
    unit = next((unit for unit in units if _are_counts(_distinct(pixels), unit)), None)
    low, high = np.percentile(sample, PERCENTILES) if unit is None else (0, 255 * unit)
    if low == high:
        low, high = sample.min(), sample.max()
    return float(low), float(high)


def _to_8_bits(pixels, low, high):
    if low is None:
        low, high = range_of(pixels)
    real = np.result_type(pixels, np.float32)
    if pixels.dtype == np.uint16:
        return _scaled(np.arange(1 << 16, dtype=real), low, high)[pixels]
    return _scaled(pixels.astype(real), low, high)


def _scaled(values, low, high):
    values = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
    factor = 255 / (high - low) if high > low else 0
    return np.rint((np.clip(values, low, high) - low) * factor).astype(np.uint8)


def _distinct(pixels):
    """The finite values of an image; of 16 bits each once, which is quick."""
    if pixels.dtype != np.uint16:
        return pixels[np.isfinite(pixels)]
    there = np.zeros(1 << 16, bool)
    there[pixels] = True
    return np.flatnonzero(there)


def _are_counts(values, unit):
    """Whether all values are 0 to 255 units, whole ones, and not all 0."""
    counts = np.rint(values / unit)
    whole = np.abs(counts * unit - values).max() <= unit / 1000
    return whole and counts.min() >= 0 and 0 < counts.max() <= 255


def decode_image(data, value_range=None):
    """An encoded image of any depth, turned as its EXIF says.

    Args:
        data (bytes): The file's content.
        value_range (tuple[float, float], optional): As for `to_color`.

    Returns:
        numpy.ndarray | None: `(H, W, 3)` uint8 BGR; None where OpenCV reads no image.
    """
    image = read_values(data)
    return None if image is None else to_color(image, value_range)


def read_values(data):
    """The values in an encoded image as OpenCV reads them.

    Args:
        data (bytes): The file's content.

    Returns:
        numpy.ndarray | None: `(H, W, 3)` BGR of any depth, `(H, W)` of 32 bits and more; None
        where OpenCV reads no image. HEIC and AVIF are read by Pillow, in 8 bits.
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
    for flag in (_ANY_DEPTH, 'unchanged'):  # the first does not take gray of 32 bits
        try:
            image = mmcv.imfrombytes(data, flag=flag, backend='cv2')
        except cv2.error:  # a size of 0, or far too large
            image = None
        if image is not None:
            return image
    return None


def tiff_tags(file):
    """The tags of the first image of a TIFF file that have whole numbers.

    Args:
        file (BinaryIO): From its start.

    Returns:
        dict[int, tuple[int, ...]]: By the tags' own numbers; empty for a file of another kind, or
            where they are broken.
    """
    head = file.read(16)
    try:
        tags = ImageFileDirectory_v2(head if head[2:3] == b'+' else head[:8])  # of BigTIFF
        file.seek(tags.next)
        tags.load(file)
        found = {tag: tags.get(tag) for tag in tags}
    except Exception:  # Pillow raises whatever the broken bytes led to
        return {}
    found = {tag: value if isinstance(value, tuple) else (value,) for tag, value in found.items()}
    return {
        tag: values
        for tag, values in found.items()
        if values and all(isinstance(value, int) for value in values)
    }


def load_all_depths(pipeline, value_range=None):
    """Give a pipeline's `LoadImageFromFile`, with its settings, the rule of `to_color`.

    One that asks for another backend or other colors than OpenCV's is left alone.

    Args:
        pipeline (mmengine.dataset.Compose): It is changed.
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


class NoImageError(ValueError):
    """A file has no image; the message names it."""


class _LoadAnyDepth(LoadImageFromFile):
    """`LoadImageFromFile` for images of any depth, whose file may have been read already."""

    def __init__(self, loader, value_range):
        vars(self).update(vars(loader))
        self.value_range = value_range

    def transform(self, results):
        """As that of its base class."""
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


def upright(image):
    """A PIL image turned as its EXIF says; as it is stored where EXIF is broken."""
    image.load()
    try:
        turn = TURNS.get(image.getexif().get(ORIENTATION))
    except Exception:  # PIL raises whatever the broken tags led to
        turn = None
    return image if turn is None else image.transpose(turn)
