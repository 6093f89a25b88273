"""Images larger than memory, read window by window."""

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
SAMPLES = 5  # windows along each side from which the range of values is estimated
SAMPLE_SIDE = 256
COMPRESSION, PHOTOMETRIC = 259, 262  # TIFF tags


class LargeImage:
    """An image that is read window by window, of fewer than 2**32 pixels.

    `read` maps `y1, y2, x1, x2` to pixels `(h, w)` or `(h, w, C)`; `shape` is `(H, W)`. Without a
    `value_range`, see `read_image`, it is estimated from some windows.
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
        """The pixels of a window, `(y2 - y1, x2 - x1, 3)` uint8 BGR."""
        pixels = np.asarray(self._read(y1, y2, x1, x2))
        if self.value_range is None and pixels.dtype != np.uint8:
            self.value_range = self._estimate_range()
        pixels = to_color(pixels, self.value_range)
        return pixels if self._is_bgr else np.ascontiguousarray(pixels[..., ::-1])

    def _estimate_range(self) -> tuple[float, float]:
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
    """Open an image for reading by windows; arguments and errors as of `read_image`.

    TIFF and similar files are read at full resolution by tifffile if it is installed
    (`mmovsam[large-images]`), arrays (`numpy.memmap`, zarr, HDF5) by slicing. All other images are
    decoded as a whole, and so are TIFF files with an EXIF orientation or other colors than gray and
    RGB.
    """
    if isinstance(image, LargeImage):
        return image
    if isinstance(image, (str, PathLike)) and Path(image).is_file():
        is_tiff = Path(image).suffix.lower() in TIFF_SUFFIXES and find_spec('tifffile')
        tiff = _open_tiff(str(image)) if is_tiff and _is_plain(image) else None
        if tiff is not None:
            return LargeImage(*tiff, 'RGB', value_range)
    elif hasattr(image, 'shape') and hasattr(image, 'dtype') and len(image.shape) in (2, 3):
        return LargeImage(_slices(image), image.shape[:2], image_format, value_range)
    array = read_image(image, image_format, value_range)
    return LargeImage(_slices(array), array.shape[:2], 'BGR')


def _is_plain(path: str | PathLike) -> bool:
    """Whether a TIFF file is gray, with black as 0, or RGB, and has no EXIF orientation."""
    with open(path, 'rb') as file:
        tags = tiff_tags(file)
    orientation, photometric, compression = (
        tags.get(tag, (1,))[0] for tag in (ORIENTATION, PHOTOMETRIC, COMPRESSION)
    )
    is_jpeg = photometric == 6 and compression in (6, 7)  # YCbCr, which readers convert to RGB
    return orientation not in TURNS and (photometric in (1, 2, 3) or is_jpeg)


def _slices(array) -> Callable[[int, int, int, int], np.ndarray]:
    return lambda y1, y2, x1, x2: array[y1:y2, x1:x2]


def _open_tiff(path: str):
    """A function that reads windows, and `(H, W)`; None if the file must be read as a whole."""
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
    tiles_across, tiles_down = -(-width // columns), -(-height // rows)
    indices = np.arange(planes * tiles_down * tiles_across)
    indices = indices.reshape(planes, tiles_down, tiles_across)

    def read(y1, y2, x1, x2):
        y2, x2 = min(y2, height), min(x2, width)
        pixels = np.zeros((planes, y2 - y1, x2 - x1, samples), page.dtype)
        in_window = indices[:, y1 // rows : -(-y2 // rows), x1 // columns : -(-x2 // columns)]
        for index in in_window.ravel().tolist():
            file.filehandle.seek(page.dataoffsets[index])
            data = file.filehandle.read(page.databytecounts[index])
            try:
                tile, (plane, _, y, x, _), _ = page.decode(data, index, jpegtables=page.jpegtables)
            except Exception as error:  # whatever the codec raises
                remedy = ": pip install 'mmovsam[large-images]'" * ('imagecodecs' in str(error))
                raise ValueError(f'{path} cannot be read at {x1}, {y1}: {error}{remedy}') from None
            if tile is not None:  # None if it is empty
                tile = tile[0, max(y1 - y, 0) :, max(x1 - x, 0) :]
                target = pixels[plane, max(y - y1, 0) :, max(x - x1, 0) :]
                target = target[: tile.shape[0], : tile.shape[1]]
                target[:] = tile[: target.shape[0], : target.shape[1]]
        return _planes_last(pixels)

    return read, (height, width)


def _planes_last(pixels: np.ndarray) -> np.ndarray:
    """`(h, w, C)` of `(C, h, w, 1)` or `(1, h, w, C)`."""
    return pixels[0] if len(pixels) == 1 else pixels[..., 0].transpose(1, 2, 0)
