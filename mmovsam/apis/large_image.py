"""Images that are read window by window, so that they may be larger than memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from os import PathLike
from pathlib import Path

import numpy as np

from ..pixels import ORIENTATION, TURNS, checked_range, range_of, tiff_tags, to_color
from .image_input import read_image

TIFF_SUFFIXES = ('.tif', '.tiff', '.btf', '.svs', '.scn', '.ndpi')
SAMPLES = 5  # along each side, of windows that the range of values is taken from
SAMPLE_SIDE = 256
COMPRESSION, PHOTOMETRIC = 259, 262  # TIFF's tags


class LargeImage:
    """An image `(H, W)` of which windows are read.

    `read` gives the pixels `(h, w)` or `(h, w, C)` of rows and columns, `y1, y2, x1, x2`, in the
    channel order of `image_format`. Without a `value_range`, see `read_image`, the percentiles of
    some windows count for all. One of 2**32 pixels or more, which COCO's run lengths cannot count,
    is a `ValueError`.
    """

    def __init__(
        self,
        read: Callable[[int, int, int, int], np.ndarray],
        shape: Sequence[int],
        image_format: str = 'RGB',
        value_range: Sequence[float] | None = None,
    ) -> None:
        height, width = map(int, shape)
        if height * width >= 2**32:
            raise ValueError(
                f'The image has {width}x{height} pixels; run lengths count up to 2**32. Cut it up.'
            )
        self.shape = height, width
        self._read = read
        self._is_bgr = image_format == 'BGR'
        self.value_range = checked_range(value_range)

    def window(self, x1: int, y1: int, x2: int, y2: int) -> np.ndarray:
        """A part, `(y2 - y1, x2 - x1, 3)` uint8 BGR."""
        pixels = np.asarray(self._read(y1, y2, x1, x2))
        if self.value_range is None and pixels.dtype != np.uint8:
            self.value_range = self._range_of_some()
        pixels = to_color(pixels, self.value_range)
        return pixels if self._is_bgr else np.ascontiguousarray(pixels[..., ::-1])

    def _range_of_some(self) -> tuple[float, float]:
        starts = (
            sorted({int(start) for start in np.linspace(0, max(side - SAMPLE_SIDE, 0), SAMPLES)})
            for side in self.shape
        )
        windows = [
            np.asarray(self._read(y, y + SAMPLE_SIDE, x, x + SAMPLE_SIDE)).ravel()
            for y, x in itertools.product(*starts)
        ]
        low, high = range_of(np.concatenate(windows))
        return low, high if low < high else low + 1


def open_large_image(
    image, image_format: str = 'RGB', value_range: Sequence[float] | None = None
) -> LargeImage:
    """An image of which windows are read; arguments as for `read_image`.

    TIFF files, with all that is called otherwise and built like them, are read in parts by tifffile
    where it is installed (`mmovsam[large-images]`), at their full resolution. So is what is sliced
    like an array: `numpy.memmap`, zarr, HDF5. All other images are decoded as a whole, and so are
    TIFF files that are turned, or in colors of print.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is truncated, no image, or too large.
    """
    if isinstance(image, LargeImage):
        return image
    if isinstance(image, (str, PathLike)) and Path(image).is_file():
        is_tiff = Path(image).suffix.lower() in TIFF_SUFFIXES and find_spec('tifffile')
        tiff = _open_tiff(str(image)) if is_tiff and _is_shown_as_stored(image) else None
        if tiff is not None:
            return LargeImage(*tiff, 'RGB', value_range)
    elif hasattr(image, 'shape') and hasattr(image, 'dtype') and len(image.shape) in (2, 3):
        return LargeImage(_slices(image), image.shape[:2], image_format, value_range)
    array = read_image(image, image_format, value_range)
    return LargeImage(_slices(array), array.shape[:2], 'BGR')


def _is_shown_as_stored(path: str | PathLike) -> bool:
    """Whether the values of a TIFF file are gray or RGB, black is 0, and nothing is turned."""
    with open(path, 'rb') as file:
        tags = tiff_tags(file)
    turn, colors, compression = (
        tags.get(tag, (1,))[0] for tag in (ORIENTATION, PHOTOMETRIC, COMPRESSION)
    )
    is_jpeg = colors == 6 and compression in (6, 7)  # readers make RGB of its YCbCr
    return turn not in TURNS and (colors in (1, 2, 3) or is_jpeg)


def _slices(array) -> Callable[[int, int, int, int], np.ndarray]:
    return lambda y1, y2, x1, x2: array[y1:y2, x1:x2]


def _open_tiff(path: str):
    """How windows are read and `(H, W)`; None for what is to be read as a whole."""
    import tifffile

    try:
        file = tifffile.TiffFile(path)
        page = file.pages.first
    except (tifffile.TiffFileError, IndexError) as error:
        raise ValueError(f'{path} is truncated or no image: {error}') from None
    planes, depth, height, width, samples = page.shaped
    if planes * samples > 4 or depth > 1 or page.colormap is not None:
        return None
    if page.is_memmappable:
        pixels = tifffile.memmap(path, page=0, mode='r').reshape(page.shaped)[:, 0]
        return lambda y1, y2, x1, x2: _planes_last(pixels[:, y1:y2, x1:x2]), (height, width)
    rows, columns = page.tile if page.is_tiled else (page.rowsperstrip, width)
    across, down = -(-width // columns), -(-height // rows)
    numbers = np.arange(planes * down * across).reshape(planes, down, across)

    def read(y1, y2, x1, x2):
        y2, x2 = min(y2, height), min(x2, width)
        pixels = np.zeros((planes, y2 - y1, x2 - x1, samples), page.dtype)
        met = numbers[:, y1 // rows : -(-y2 // rows), x1 // columns : -(-x2 // columns)]
        for number in met.ravel().tolist():
            file.filehandle.seek(page.dataoffsets[number])
            data = file.filehandle.read(page.databytecounts[number])
            try:
                part, (plane, _, y, x, _), _ = page.decode(data, number, jpegtables=page.jpegtables)
            except Exception as error:  # whatever the codec raises
                remedy = ": pip install 'mmovsam[large-images]'" * ('imagecodecs' in str(error))
                raise ValueError(f'{path} cannot be read at {x1}, {y1}: {error}{remedy}') from None
            if part is not None:  # else it is empty
                part = part[0, max(y1 - y, 0) :, max(x1 - x, 0) :]
                place = pixels[plane, max(y - y1, 0) :, max(x - x1, 0) :]
                place = place[: part.shape[0], : part.shape[1]]
                place[:] = part[: place.shape[0], : place.shape[1]]
        return _planes_last(pixels)

    return read, (height, width)


def _planes_last(pixels: np.ndarray) -> np.ndarray:
    """`(h, w, C)` of `(C, h, w, 1)` or `(1, h, w, C)`."""
    return pixels[0] if len(pixels) == 1 else pixels[..., 0].transpose(1, 2, 0)
