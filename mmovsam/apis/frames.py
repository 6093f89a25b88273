"""Reads the frames of a clip: a video, an animation, or a folder of images."""

from __future__ import annotations

import re
from collections.abc import Iterator
from os import PathLike
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ..logs import warn
from ..validation import require_file
from .image_input import read_image
from .input_list import list_images

ANIMATIONS = ('.gif', '.webp', '.png', '.apng')  # as files, not in folders
ANIMATED = ('GIF', 'PNG', 'WEBP')  # Pillow's names
VIDEO_SUFFIXES = (
    *('.mp4', '.avi', '.mov', '.mkv', '.webm', '.m4v', '.mpg', '.mpeg', '.ts'),
    *('.wmv', '.flv', '.3gp', '.mts', '.m2ts', '.ogv', '.vob'),
)


def read_frames(source: str | PathLike) -> Iterator[tuple[str, np.ndarray]]:
    """Read the frames of a video or an animation, or the images that `list_images` finds.

    Images are sorted by name, with numbers as numbers: `2.jpg` comes before `10.jpg`. Unreadable
    images, and missing frames of a truncated video, are skipped with a warning.

    Yields:
        A frame's name, in videos its index as in `000012.jpg`, and its `(H, W, 3)` uint8 BGR.

    Raises:
        FileNotFoundError: The source does not exist.
        ValueError: It is not a video, or no image can be read.
    """
    path = Path(source)
    if path.suffix.lower() in ANIMATIONS and path.is_file() and _num_frames(path) > 1:
        yield from _animation(path)
        return
    if path.suffix.lower() not in VIDEO_SUFFIXES:
        yield from _images(source)
        return
    video, number = cv2.VideoCapture(str(require_file(path, 'video'))), 0
    try:
        while (frame := video.read()[1]) is not None:
            yield f'{number:06d}.jpg', frame
            number += 1
        count = video.get(cv2.CAP_PROP_FRAME_COUNT)
    finally:
        video.release()
    if 0 < number < 0.95 * count:  # an estimate
        warn(f'{source} is truncated: {number} of its {count:.0f} frames can be read.')
    if number == 0:
        raise ValueError(f'{source} is truncated or no video that OpenCV reads. Convert it to MP4.')


def _num_frames(path: Path) -> int:
    try:
        with Image.open(path, formats=ANIMATED) as image:
            return getattr(image, 'n_frames', 1)
    except Exception:  # Pillow raises whatever the broken bytes led to
        return 0


def _animation(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    with Image.open(path, formats=ANIMATED) as image:
        for number in range(image.n_frames):
            try:
                image.seek(number)
                frame = np.asarray(image.convert('RGB'))
            except Exception as error:  # likewise
                warn(f'{path} is truncated: {number} of its {image.n_frames} frames can be read '
                     f'({error}).')  # fmt: skip
                return
            yield f'{number:06d}.jpg', np.ascontiguousarray(frame[..., ::-1])


def _images(source: str | PathLike) -> Iterator[tuple[str, np.ndarray]]:
    errors, num_images = [], 0
    for name, file in sorted(list_images(source).items(), key=lambda item: _natural_key(item[0])):
        try:
            image = read_image(file)
        except (OSError, ValueError) as error:
            errors.append(error)
            warn(f'{error} It is left out.')
            continue
        num_images += 1
        yield name, image
    if not num_images:
        raise errors[0]


def _natural_key(name: str) -> list[str | int]:
    """A sort key that compares numbers as numbers."""
    tokens = re.split(r'(\d+)', name)
    tokens[1::2] = map(int, tokens[1::2])
    return tokens
