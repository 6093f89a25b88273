"""Writes pictures of single objects of the small world into a folder for each class."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
from filelock import FileLock
from tqdm import tqdm

from ...vocabulary import novel_flags
from .categories import CATEGORIES
from .pictures import draw_picture

_VERSION = 1  # raise it when the same seed draws different pictures
_STREAM = 4  # keeps them apart from what else is drawn with the same seed
_JPEG_QUALITY = 92


def write_pictures(out, num_images, seed, novel=None, novel_share=0.5, size=128, progress=True):
    """Writes `out/pictures_.../{name of the class}/{number}.jpg`.

    Picture i depends on the arguments and i only. The folder's name stands for the arguments, and
    it gets that name when it is complete: if it is there, nothing is done.

    Args:
        out (str | os.PathLike): Where the folder is.
        num_images (int): Number of pictures.
        seed (int): Not negative.
        novel (Sequence[str], optional): Names of the novel classes, as
            `mmovsam.vocabulary.novel_flags` takes them; by default the categories' own.
        novel_share (float): Share of pictures whose object is of a novel category, from 0 to 1.
        size (int): Side of a picture in pixels.
        progress (bool): Whether to show a progress bar.

    Returns:
        pathlib.Path: The folder.

    Raises:
        ValueError: If a number is out of range or a novel class is none.
    """
    if num_images < 1 or seed < 0 or size < 1 or not 0 <= novel_share <= 1:
        raise ValueError(
            'expected num_images and size of at least 1, a seed of at least 0 and a novel_share '
            f'from 0 to 1, got {num_images}, {size}, {seed} and {novel_share}'
        )
    flags = [category.novel for category in CATEGORIES]
    if novel is not None:
        flags = novel_flags([category.name for category in CATEGORIES], novel)
    pools = [[category for category, flag in zip(CATEGORIES, flags) if flag == wanted]
             for wanted in (False, True)]  # fmt: skip
    out = Path(out)
    arguments = [_VERSION, num_images, seed, list(flags), novel_share, size]
    name = f'pictures_{hashlib.sha1(json.dumps(arguments).encode()).hexdigest()[:12]}'
    out.mkdir(parents=True, exist_ok=True)
    with FileLock(out / f'.{name}.lock'):  # another process may be drawing the same
        if (out / name).is_dir():
            return out / name
        temporary = out / f'.{name}.tmp'
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            for index in tqdm(
                range(num_images), desc='drawing pictures', unit='picture', disable=not progress
            ):
                rng = np.random.default_rng([seed, _STREAM, index])
                pool = pools[rng.random() < novel_share]
                category = pool[rng.integers(len(pool))]
                image, _ = draw_picture(rng, size, category)
                folder = temporary / category.name.replace(' ', '_')
                folder.mkdir(parents=True, exist_ok=True)
                _write(folder / f'{index:06d}.jpg', image)
            os.replace(temporary, out / name)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return out / name


def _write(path, image):
    done, data = cv2.imencode('.jpg', image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not done:
        raise OSError(f'OpenCV could not encode {path.name} as JPEG')
    path.write_bytes(data.tobytes())
