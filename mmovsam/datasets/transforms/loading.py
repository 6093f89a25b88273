"""Loads images and says clearly what is wrong with those that do not load."""

import io

import mmcv
import mmengine.fileio
import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmdet.registry import TRANSFORMS
from PIL import Image


@TRANSFORMS.register_module()
class LoadImage(LoadImageFromFile):
    """MMDetection's `LoadImageFromFile` (BGR) with errors that name the file and the remedy.

    A truncated image is an error, where OpenCV would fill the missing part with gray.

    Args:
        **kwargs: As `LoadImageFromFile`.

    Raises:
        FileNotFoundError: If the image is missing.
        ValueError: If it is truncated, no image, or of another size than its annotation says.
    """

    def transform(self, results):
        """Loads `results['img_path']`.

        Args:
            results (dict): With `img_path` and, where annotated, `height` and `width`.

        Returns:
            dict: The same with `img` (H, W, 3) BGR, `img_shape` and `ori_shape` (H, W).
        """
        path = results['img_path']
        try:
            image = self._load(path)
        except (FileNotFoundError, ValueError):
            if self.ignore_empty:
                return None
            raise
        shape = image.shape[:2]
        expected = results.get('height', shape[0]), results.get('width', shape[1])
        if shape != expected:
            raise ValueError(
                f'{path} is {shape[1]}x{shape[0]} pixels, its annotation says '
                f'{expected[1]}x{expected[0]}; image and annotation do not belong together'
            )
        results.update(img=image, img_shape=shape, ori_shape=shape)
        return results

    def _load(self, path):
        try:
            data = mmengine.fileio.get(path, backend_args=self.backend_args)
        except (FileNotFoundError, IsADirectoryError):
            raise FileNotFoundError(
                f'{path} is missing, though the annotations list it; check data_root and '
                'data_prefix of your config, or get the images again'
            ) from None
        if not is_whole(data):
            raise ValueError(
                f'{path} is truncated or no image ({len(data)} bytes); get or convert it again, or '
                'remove it from the annotations'
            )
        image = mmcv.imfrombytes(data, flag=self.color_type, backend=self.imdecode_backend)
        if image is None:
            raise ValueError(
                f'{path} is truncated or an image that OpenCV cannot read; get it again, or '
                'convert it to JPEG or PNG'
            )
        return image.astype(np.float32) if self.to_float32 else image


def is_whole(data):
    """Whether an encoded image is complete.

    JPEG and PNG say so by their end mark; only those without are decoded once more.

    Args:
        data (bytes): The encoded image.

    Returns:
        bool
    """
    if data[:2] == b'\xff\xd8' and data[-2:] == b'\xff\xd9':
        return True
    if data[:8] == b'\x89PNG\r\n\x1a\n' and data[-8:-4] == b'IEND':
        return True
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False
    return True
