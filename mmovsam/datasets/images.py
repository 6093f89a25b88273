"""Checks of image files before a pipeline reads them."""

import io
import os.path as osp
import zlib
from pathlib import Path, PurePath

import mmengine.fileio
from mmengine.utils import scandir
from PIL import Image, UnidentifiedImageError

from ..fileio import describe_wrong_content, errors_naming, has_results
from ..heif import heif_kind, require_heif_reader
from ..logs import warn
from ..pixels import NoImageError, load_all_depths, read_values, tiff_tags
from ..validation import require_choice
from .files import check_files

IMG_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff')
_FORMATS = ('BMP', 'DIB', 'GIF', 'JPEG', 'JPEG2000', 'PNG', 'PPM', 'SUN', 'TIFF', 'WEBP')
"""Pillow's, without those whose readers start programs."""
_JPEG_END = b'\xff\xd9'
_PNG_END = b'IEND\xaeB`\x82'
_TIFF_TAGS = 277, 258, 339  # SamplesPerPixel, BitsPerSample, SampleFormat
_TIFF_FORMATS = {1: 'whole numbers from 0', 2: 'whole numbers', 3: 'floating-point numbers'}
_TIFF_STARTS = (b'II*\0', b'MM\0*')  # of TIFF files and, in any container, of EXIF


class CheckedImages:
    """A mixin for datasets that checks each image when it is read.

    A missing, truncated or foreign file is an error that names it, where OpenCV would fill the
    missing part with gray. The file is read once: its content goes to `LoadImageFromFile` as
    `img_bytes`. `data_samples` get `image_checksum`, the CRC-32 of the file, as meta information.

    Args:
        damaged (str): What a training does about such a file: `'stop'`, or `'skip'` to log its name
            and take another image.
        value_range (tuple[float, float], optional): Values of black and white in images of more
            than 8 bits; by default percentiles of each, see `mmovsam.pixels.to_color`.
    """

    METAINFO = {}
    REMEDY = 'Set data_root, ann_file and data_prefix of your config to where your data is.'

    def __init__(self, *args, damaged='stop', value_range=None, **kwargs):
        require_choice(('stop', 'skip'), damaged=damaged)
        if damaged == 'skip' and kwargs.get('test_mode'):
            raise ValueError("damaged='skip' is for training; a test needs all of its images.")
        self.damaged = damaged
        super().__init__(*args, **kwargs)
        load_all_depths(self.pipeline, value_range)

    def require_files(self, *paths):
        """Raise one error that names all missing files and folders."""
        check_files([(path, self.REMEDY) for path in paths if path], type(self).__name__)

    def scan(self, folder):
        """Sorted paths of images below a folder, relative to it.

        Folders in it with results of an earlier run are left out.
        """
        names = sorted(scandir(folder, self.img_suffix, recursive=True, case_sensitive=False))
        folders = {parent for path in {osp.dirname(name) for name in names}
                   for parent in PurePath(path, '_').parents} - {PurePath()}  # fmt: skip
        excluded = {path for path in folders if has_results(Path(folder) / path)}
        return [n for n in names if not excluded or excluded.isdisjoint(PurePath(n).parents)]

    def prepare_data(self, idx):
        """Check an item's image and run the pipeline; None for an image that is skipped.

        Raises:
            FileNotFoundError: The image is missing.
            ValueError: It is truncated, no image, or of another size than its annotation says.
        """
        data_info = self.get_data_info(idx)
        size = data_info.get('height'), data_info.get('width')
        try:
            data = _read_image_file(data_info['img_path'], self.backend_args)
            width, height = check_image(data_info['img_path'], *size, data)
        except (FileNotFoundError, ValueError) as error:
            return self._skip(error)
        data_info.update(width=width, height=height)
        try:
            item = self.pipeline(dict(self.complete(data_info), img_bytes=data))
        except NoImageError as error:  # damaged where the check did not look
            return self._skip(error)
        if item is not None:
            item.pop('img_bytes', None)  # if another loader read the file
            if 'data_samples' in item:
                item['data_samples'].set_metainfo(dict(image_checksum=zlib.crc32(data)))
        return item

    def _skip(self, error):
        if self.damaged == 'stop':
            raise error
        warn(f'Skipped: {error}')
        return None  # MMEngine takes another one

    def complete(self, data_info):
        """Add to an item what depends on its image's size."""
        return data_info


def check_image(path, height=None, width=None, data=None):
    """Width and height in pixels, as shown, of a complete image.

    Its bytes are `data`, by default read from `path`.

    Raises:
        FileNotFoundError: The image is missing.
        ValueError: It is truncated, no image, or of another size than expected.
    """
    if data is None:
        data = _read_image_file(path)
    require_heif_reader(data, path)
    size = whole_image_size(data)
    if size and any(start in data for start in _TIFF_STARTS):
        size = _decoded_size(data)  # turned by its EXIF orientation
    if size is None:
        raise ValueError(f'{path} is {no_image(data)}. Or remove it from the annotations.')
    expected = width or size[0], height or size[1]
    if size != expected:
        raise ValueError(
            f'{path} is {size[0]}x{size[1]} pixels, its annotation says {expected[0]}x'
            f'{expected[1]}; image and annotation do not belong together'
        )
    return size


def _read_image_file(path, backend_args=None):
    try:
        with errors_naming(path):
            return mmengine.fileio.get(path, backend_args=backend_args)
    except (FileNotFoundError, IsADirectoryError):
        raise FileNotFoundError(
            f'{path} is missing, though the annotations list it; check data_root and '
            'data_prefix of your config, or get the images again'
        ) from None


def no_image(data):
    """What is wrong with a file that is not read as an image, and the remedy."""
    problem = describe_wrong_content(data[:1000])
    if problem:
        return f'truncated or no image: it is {problem}'
    tags = tiff_tags(io.BytesIO(data)) if data[:2] in (b'II', b'MM') else {}
    channels, bits, sample_format = (max(tags.get(tag, (1,))) for tag in _TIFF_TAGS)
    unsigned, floats = sample_format == 1, sample_format == 3
    if channels > 4 or (unsigned and bits > 16) or (floats and bits == 16):
        values = _TIFF_FORMATS.get(sample_format, 'values')
        return (
            f'a TIFF file of {channels} channels of {bits} bits, {values}, which are not read. '
            'Write 1 to 4 channels of 8 or 16 bits, or of 32 as floats'
        )
    return f'truncated or no image ({len(data)} bytes). Get it again, or convert it to JPEG or PNG'


def whole_image_size(data):
    """Width and height of a complete image, before its EXIF orientation; else None.

    JPEG and PNG are complete if they have their end mark; other images, and JPEG with trailing
    data, are decoded. For HEIC and AVIF, which have more orientations than EXIF's, the size is that
    of the turned image.
    """
    is_jpeg, is_png = data[:2] == b'\xff\xd8', data[:4] == b'\x89PNG'
    if heif_kind(data):
        return _decoded_size(data)
    if is_png and _PNG_END not in data:
        return None
    has_end = is_png or (is_jpeg and data[-2:] == _JPEG_END)
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            if not has_end:
                image.load()
            return image.size
    except Image.DecompressionBombError:  # OpenCV reads up to 2**30 pixels
        return _decoded_size(data) if has_end or not is_jpeg else None
    except UnidentifiedImageError:  # Pillow has no colors of 32 bits
        return _decoded_size(data) if data[:4] in _TIFF_STARTS else None
    except (ImportError, MemoryError):  # not the image's fault
        raise
    except Exception:  # Pillow raises whatever the broken bytes led to
        return _decoded_size(data) if is_png else None  # its text chunks may exceed Pillow's limit


def _decoded_size(data):
    image = read_values(data)
    return None if image is None else image.shape[1::-1]
