"""HEIC and AVIF images, which OpenCV does not read."""

import importlib.util
import io

from PIL import Image, features

_HEIC_BRANDS = {
    b'heic', b'heix', b'heim', b'heis', b'hevc', b'hevx', b'hevm', b'hevs', b'mif1', b'msf1',
}  # fmt: skip
_AVIF_BRANDS = {b'avif', b'avis'}


def heif_kind(data):
    """`'AVIF'` or `'HEIC'` by the brands at the start of image bytes, else None."""
    if data[4:8] != b'ftyp':
        return None
    end = min(int.from_bytes(data[:4], 'big'), 256)
    brands = {data[8:12], *(data[start : start + 4] for start in range(16, end, 4))}
    if brands & _AVIF_BRANDS:
        return 'AVIF'
    return 'HEIC' if brands & _HEIC_BRANDS else None


def heif_extensions():
    """Suffixes of the formats that can be read here."""
    suffixes = ('.avif',) if features.check('avif') else ()
    if importlib.util.find_spec('pillow_heif'):
        suffixes += '.heic', '.heif'
    return suffixes


def require_heif_reader(data, name):
    """Raise a `ValueError` if a package for the image of this name is missing."""
    kind = heif_kind(data)
    if kind == 'HEIC' and not importlib.util.find_spec('pillow_heif'):
        raise ValueError(
            f"{name} is a HEIC image, which needs pillow-heif: pip install 'mmovsam[heic]', or "
            'convert it to JPEG or PNG.'
        )
    if kind == 'AVIF' and not features.check('avif'):
        raise ValueError(
            f"{name} is an AVIF image, which needs a newer Pillow: pip install 'pillow>=11.3', or "
            'convert it to JPEG or PNG.'
        )


def open_heif(data):
    """A PIL image, not decoded yet, of bytes of a `heif_kind`.

    Raises:
        ValueError: No installed package reads it.
        Exception: Whatever the broken bytes led to.
    """
    if heif_kind(data) == 'AVIF':
        return Image.open(io.BytesIO(data), formats=('AVIF',))
    require_heif_reader(data, 'The data')
    import pillow_heif  # an optional dependency

    pillow_heif.register_heif_opener()
    return Image.open(io.BytesIO(data), formats=('HEIF',))
