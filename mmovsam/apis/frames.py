"""The frames of a clip: images of a folder, or of a video."""

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
    """The frames of a video that OpenCV reads or of an animation, or images by their names.

    Numbers in names count as such: `2.jpg` comes before `10.jpg`. Images that cannot be read, and
    what is missing of a video, are left out with a warning.

    Yields:
        The name of a frame, of a video such as `000012.jpg`, counted from 0; and `(H, W, 3)` uint8
        BGR.

    Raises:
        FileNotFoundError: There is nothing of that name, see also `list_images`.
        ValueError: It is no video, or no image can be read.
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


def _in_order(item: tuple[str, Path]) -> list[str | int]:
    parts = re.split(r'(\d+)', item[0])
    return [int(part) if place % 2 else part for place, part in enumerate(parts)]


def _images(source: str | PathLike) -> Iterator[tuple[str, np.ndarray]]:
    error, is_any = None, False
    for name, file in sorted(list_images(source).items(), key=_in_order):
        try:
            image = read_image(file)
        except (OSError, ValueError) as reason:
            error = error or reason
            warn(f'{reason} It is left out.')
            continue
        is_any = True
        yield name, image
    if not is_any:
        raise error
