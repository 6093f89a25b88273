"""Says clearly what is wrong with an image file, before a pipeline reads it."""

import io
import os.path as osp
import zlib
from pathlib import Path, PurePath

import mmengine.fileio
from mmengine.utils import scandir
from PIL import Image, UnidentifiedImageError

from ..fileio import errors_naming, has_results, stand_in
from ..heif import heif_kind, require_heif_reader
from ..logs import warn
from ..pixels import NoImageError, load_all_depths, read_values, tiff_tags
from ..validation import require_choice
from .files import check_files

IMG_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff')
_FORMATS = ('BMP', 'DIB', 'GIF', 'JPEG', 'JPEG2000', 'PNG', 'PPM', 'SUN', 'TIFF', 'WEBP')
"""Of PIL's, without those whose readers start programs."""
_JPEG_END = b'\xff\xd9'
_PNG_END = b'IEND\xaeB`\x82'
_TIFF_VALUES = 277, 258, 339  # tags: the number of channels, their bits, and their kinds
_TIFF_KINDS = {1: 'whole numbers from 0', 2: 'whole numbers', 3: 'floating-point numbers'}
_TIFF_STARTS = (b'II*\0', b'MM\0*')  # of TIFF files and, in any container, of EXIF


class CheckedImages:
    """For datasets: each image is checked when it is read.

    A missing, truncated or foreign file is an error that names it, where OpenCV would fill what is
    missing with gray. The file is opened once: its content is the item's `img_bytes`, which
    `LoadImageFromFile` takes. Pipelines stay MMDetection's own, so that its tools recognise them.

    Args:
        damaged (str): What a training does about such a file: `'stop'`, or `'skip'` to log its name
            and take another image in its place.
        value_range (tuple[float, float], optional): The values that are black and white in images
            of more than 8 bits; by default percentiles of each, see `mmovsam.pixels.to_color`.

    `data_samples` of an item get `image_checksum`, the CRC-32 of the image's file, as meta
    information.
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
        """Raises one error that names those of some files and folders that are missing."""
        check_files([(path, self.REMEDY) for path in paths if path], type(self).__name__)

    def scan(self, folder):
        """Images below a folder by their suffixes: paths relative to it, in order.

        Folders in it that have results of an earlier run are left out.
        """
        names = sorted(scandir(folder, self.img_suffix, recursive=True, case_sensitive=False))
        inner = {part for each in {osp.dirname(name) for name in names}
                 for part in PurePath(each, '_').parents} - {PurePath()}  # fmt: skip
        made = {part for part in inner if has_results(Path(folder) / part)}
        return [name for name in names if not made or made.isdisjoint(PurePath(name).parents)]

    def prepare_data(self, idx):
        """Runs the pipeline on an item whose image is in order.

        Returns:
            What the pipeline returns; None for an image that is skipped.

        Raises:
            FileNotFoundError: The image is missing.
            ValueError: It is truncated, no image, or of another size than its annotation says.
        """
        data_info = self.get_data_info(idx)
        size = data_info.get('height'), data_info.get('width')
        try:
            data = _content(data_info['img_path'], self.backend_args)
            width, height = _checked_size(data_info['img_path'], data, *size)
        except (FileNotFoundError, ValueError) as error:
            return self._skipped(error)
        data_info.update(width=width, height=height)
        try:
            item = self.pipeline(dict(self.complete(data_info), img_bytes=data))
        except NoImageError as error:  # the check is quick
            return self._skipped(error)
        if item is not None:
            item.pop('img_bytes', None)  # where another transform than ours loads the image
            if 'data_samples' in item:
                item['data_samples'].set_metainfo(dict(image_checksum=zlib.crc32(data)))
        return item

    def _skipped(self, error):
        if self.damaged == 'stop':
            raise error
        warn(f'Skipped: {error}')
        return None  # MMEngine takes another one

    def complete(self, data_info):
        """An item with what depends on its image's size."""
        return data_info


def check_image(path, height=None, width=None, backend_args=None):
    """Width and height in pixels, as shown, of an image that can be read as a whole.

    Raises:
        FileNotFoundError: The image is missing.
        ValueError: It is truncated, no image, or of another size than is given.
    """
    return _checked_size(path, _content(path, backend_args), height, width)


def _content(path, backend_args):
    try:
        with errors_naming(path):
            return mmengine.fileio.get(path, backend_args=backend_args)
    except (FileNotFoundError, IsADirectoryError):
        raise FileNotFoundError(
            f'{path} is missing, though the annotations list it; check data_root and '
            'data_prefix of your config, or get the images again'
        ) from None


def _checked_size(path, data, height, width):
    require_heif_reader(data, path)
    size = whole_image_size(data)
    if size and any(start in data for start in _TIFF_STARTS):
        image = read_values(data)  # the pipelines' reader says how the image is turned
        size = None if image is None else image.shape[1::-1]
    if size is None:
        raise ValueError(f'{path} is {no_image(data)}. Or remove it from the annotations.')
    expected = width or size[0], height or size[1]
    if size != expected:
        raise ValueError(
            f'{path} is {size[0]}x{size[1]} pixels, its annotation says {expected[0]}x'
            f'{expected[1]}; image and annotation do not belong together'
        )
    return size


def no_image(data):
    """What a file is that is not read as an image, and the remedy, by its content."""
    other = stand_in(data[:1000])
    if other:
        return f'truncated or no image: it is {other}'
    tags = tiff_tags(io.BytesIO(data)) if data[:2] in (b'II', b'MM') else {}
    channels, bits, kind = (max(tags.get(tag, (1,))) for tag in _TIFF_VALUES)
    if channels > 4 or (kind == 1 and bits > 16) or (kind == 3 and bits == 16):
        values = _TIFF_KINDS.get(kind, 'values')
        return (
            f'a TIFF file of {channels} channels of {bits} bits, {values}, which are not read. '
            'Write 1 to 4 channels of 8 or 16 bits, or of 32 as floats'
        )
    return f'truncated or no image ({len(data)} bytes). Get it again, or convert it to JPEG or PNG'


def whole_image_size(data):
    """Width and height, before EXIF turns it, of an image that is complete; else None.

    JPEG and PNG say so by their end mark; others, and JPEG with something behind it, are decoded.
    Those of HEIC and AVIF, which have more ways to turn an image, are those that it is shown with.
    """
    is_jpeg, is_png = data[:2] == b'\xff\xd8', data[:4] == b'\x89PNG'
    if heif_kind(data):
        return _size(data)
    if is_png and _PNG_END not in data:
        return None
    whole = is_png or (is_jpeg and data[-2:] == _JPEG_END)
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            if not whole:
                image.load()
            return image.size
    except Image.DecompressionBombError:  # far above what people have; OpenCV reads 2**30 pixels
        return _size(data) if whole or not is_jpeg else None
    except UnidentifiedImageError:  # Pillow has no colors of 32 bits
        return _size(data) if data[:4] in _TIFF_STARTS else None
    except (ImportError, MemoryError):  # not the image's fault
        raise
    except Exception:  # Pillow raises whatever the broken bytes led to
        return _size(data) if is_png else None  # whose texts may be longer than it reads


def _size(data):
    image = read_values(data)
    return None if image is None else image.shape[1::-1]
