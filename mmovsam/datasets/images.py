"""Says clearly what is wrong with an image file, before a pipeline reads it."""

import io

import mmengine.fileio
from PIL import Image

IMG_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff')
_JPEG_END = b'\xff\xd9'
_PNG_END = b'IEND\xaeB`\x82'
_ORIENTATION = 0x0112  # EXIF's tag; from 5 on the image is shown with its sides swapped


class CheckedImages:
    """For datasets: each image is checked when it is read.

    A missing, truncated or foreign file is an error that names it, where OpenCV would fill what is
    missing with gray. Pipelines stay MMDetection's own, so that its tools recognise them.
    """

    def prepare_data(self, idx):
        """Runs the pipeline on an item whose image is in order.

        Args:
            idx (int): Index of the item.

        Returns:
            What the pipeline returns.

        Raises:
            FileNotFoundError: If the image is missing.
            ValueError: If it is truncated, no image, or of another size than its annotation says.
        """
        data_info = self.get_data_info(idx)
        check_image(
            data_info['img_path'],
            data_info.get('height'),
            data_info.get('width'),
            self.backend_args,
        )
        return self.pipeline(data_info)


def check_image(path, height=None, width=None, backend_args=None):
    """Raises an error that names the file and the remedy if an image cannot be read as a whole.

    Args:
        path (str): The image's file.
        height (int, optional): What the annotation says of its height in pixels.
        width (int, optional): And of its width.
        backend_args (dict, optional): Of MMEngine's file backends.

    Returns:
        tuple[int, int]: Width and height in pixels as shown.

    Raises:
        FileNotFoundError: If the image is missing.
        ValueError: If it is truncated, no image, or of another size.
    """
    try:
        data = mmengine.fileio.get(path, backend_args=backend_args)
    except (FileNotFoundError, IsADirectoryError):
        raise FileNotFoundError(
            f'{path} is missing, though the annotations list it; check data_root and '
            'data_prefix of your config, or get the images again'
        ) from None
    size = whole_image_size(data)
    if size is None:
        raise ValueError(
            f'{path} is truncated or no image ({len(data)} bytes); get or convert it again, or '
            'remove it from the annotations'
        )
    expected = width or size[0], height or size[1]
    if size != expected:
        raise ValueError(
            f'{path} is {size[0]}x{size[1]} pixels, its annotation says {expected[0]}x'
            f'{expected[1]}; image and annotation do not belong together'
        )
    return size


def whole_image_size(data):
    """The size of an encoded image that is complete.

    JPEG and PNG say so by their end mark; others, and JPEG with something behind it, are decoded.

    Args:
        data (bytes): The encoded image.

    Returns:
        tuple[int, int] | None: Width and height in pixels as shown, that is, turned as EXIF says;
        None if it is truncated or no image.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.format == 'PNG':
                if _PNG_END not in data:
                    return None
            elif image.format != 'JPEG' or data[-2:] != _JPEG_END:
                image.load()
            turned = image.format == 'JPEG' and image.getexif().get(_ORIENTATION, 1) >= 5
            return image.size[::-1] if turned else image.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
