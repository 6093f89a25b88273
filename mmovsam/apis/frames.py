"""The frames of a clip: images of a folder, or of a video."""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike
from pathlib import Path

import cv2
import numpy as np

from ..logs import warn
from ..validation import require_file
from .image_input import read_image
from .input_list import list_images

VIDEO_SUFFIXES = ('.mp4', '.avi', '.mov', '.mkv', '.webm', '.m4v', '.mpg', '.mpeg', '.ts', '.gif')


def read_frames(source: str | PathLike) -> Iterator[tuple[str, np.ndarray]]:
    """The frames of a video that OpenCV reads, or images in the order of their names.

    Images that cannot be read, and what is missing of a video, are left out with a warning.

    Yields:
        The name of a frame, of a video such as `000012.jpg`, counted from 0; and `(H, W, 3)` uint8
        BGR.

    Raises:
        FileNotFoundError: There is nothing of that name, see also `list_images`.
        ValueError: It is no video, or no image can be read.
    """
    path = Path(source)
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


def _images(source: str | PathLike) -> Iterator[tuple[str, np.ndarray]]:
    error, is_any = None, False
    for name, file in list_images(source).items():
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
