"""Photographs with masks and names, in memory: a folder for each data set."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor
from tqdm import tqdm

from ..apis.image_input import read_image
from ..datasets.annotations import (
    box,
    entries,
    flag,
    group_by_image,
    identifier,
    image_size,
    name_of,
    segmentation,
    text,
)
from ..fileio import read_json
from ..logs import warn

CANVAS = 512
"""Side of the canvas; larger photographs are scaled down to it."""


@dataclass
class Photographs:
    """Annotations of some data sets, before anything is decoded.

    N images have `paths`, `sources` (names of their sets) and annotated `sizes` (height, width).
    M objects are dictionaries with `image` (an index), `rle` (None for a whole image) and `name`.
    """

    paths: list[Path] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    objects: list[dict] = field(default_factory=list)


def load_photographs(root: str | Path, sets: Sequence[str]) -> Photographs:
    """Read the annotations of the data sets `sets` below a folder.

    A set is a folder with `images/` and either `instances.json` in COCO's format, with masks as RLE
    or polygons, or `names.tsv`, whose lines are an image, a tab and its name.

    Raises:
        FileNotFoundError: A set has neither file, or an image is missing.
        ValueError: An `instances.json` is damaged or malformed.
    """
    photographs = Photographs()
    for name in sets:
        folder = Path(root) / name
        if (folder / 'instances.json').is_file():
            _read_coco(photographs, folder)
        elif (folder / 'names.tsv').is_file():
            _read_names(photographs, folder)
        else:
            raise FileNotFoundError(
                f'{folder} has neither instances.json nor names.tsv: see docs/photo_model.md'
            )
    missing = [path for path in photographs.paths if not path.is_file()]
    if missing:
        raise FileNotFoundError(f'{len(missing)} images are missing, such as {missing[0]}.')
    return photographs


def _read_coco(photographs: Photographs, folder: Path) -> None:
    path = folder / 'instances.json'
    content = read_json(path, 'docs/photo_model.md says how it is made.')
    try:
        left_out = _add_coco(photographs, folder, content)
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from None
    if left_out:
        warn(
            f'{path}: {len(left_out)} of {len(content["annotations"])} annotations are left out '
            f'({", ".join(left_out[:3])}): their mask has no area'
        )


def _add_coco(photographs: Photographs, folder: Path, content: dict) -> list[str]:
    """Add the images and objects of a file; returns the annotations left out for want of area."""
    lists = entries(content, 'images', 'annotations', 'categories')
    images, annotations, categories = lists
    where = 'a category'
    names = {
        identifier(category, 'id', where): text(category, 'name', where) for category in categories
    }
    group_by_image(*lists)  # checks the ids
    indices, left_out = {}, []
    for image in images:
        where = f'image {image["id"]}'
        indices[image['id']] = len(photographs.paths)
        photographs.paths.append(folder / 'images' / text(image, 'file_name', where))
        photographs.sources.append(folder.name)
        photographs.sizes.append(image_size(image, where))
    for annotation in annotations:
        where, image = name_of(annotation), indices[annotation['image_id']]
        if flag(annotation, 'iscrowd', where):
            continue
        mask = segmentation(annotation, where, *photographs.sizes[image])
        if mask is None:
            raise ValueError(f'{where} has no "segmentation"')
        if not mask:
            left_out.append(where)
            continue
        rle = _as_rle(mask, photographs.sizes[image])
        has_box = annotation.get('bbox')
        photographs.objects.append(
            dict(
                image=image,
                rle=rle,
                name=names[annotation['category_id']],
                id=annotation.get('id'),
                bbox=box(annotation, where) if has_box else coco_mask.toBbox(rle).tolist(),
            )
        )
    return left_out


def _as_rle(segmentation: dict | list, size: tuple[int, int]) -> dict:
    if isinstance(segmentation, list):
        return coco_mask.merge(coco_mask.frPyObjects(segmentation, *size))
    counts = segmentation['counts']
    if isinstance(counts, list):
        return coco_mask.frPyObjects(segmentation, *size)
    return dict(size=segmentation['size'], counts=counts.encode())


def _read_names(photographs: Photographs, folder: Path) -> None:
    for line in (folder / 'names.tsv').read_text(encoding='utf-8').splitlines():
        file_name, name = line.split('\t')[:2]
        path = folder / 'images' / file_name
        photographs.objects.append(dict(image=len(photographs.paths), rle=None, name=name, id=None))
        photographs.paths.append(path)
        photographs.sources.append(folder.name)
        photographs.sizes.append(read_image(path).shape[:2])


class PhotoData:
    """Decoded photographs and masks on the training device.

    A photograph takes 768 KiB and a mask, packed to one bit a pixel, 32 KiB; `workers` threads
    decode them.

    Attributes:
        images: `(N, 3, 512, 512)` uint8 RGB, each in the upper left corner of its canvas.
        sizes: `(N, 2)` int64, height and width of the image on the canvas.
        masks: `(M, 512, 64)` uint8, packed bits.
        image_of: `(M,)` int64 on the host, as are `has_mask` `(M,)` and `areas` `(M,)` in pixels.
        objects_of: The indices of the objects of each image.
    """

    def __init__(self, photographs: Photographs, device: str = 'cpu', workers: int = 2) -> None:
        self.photographs = photographs
        objects = photographs.objects
        num, count = len(photographs.paths), len(objects)
        self.images = torch.zeros(num, 3, CANVAS, CANVAS, dtype=torch.uint8)
        self.sizes = torch.zeros(num, 2, dtype=torch.int64)
        self.masks = torch.zeros(count, CANVAS, CANVAS // 8, dtype=torch.uint8)
        self.areas = torch.zeros(count)
        self.image_of = torch.tensor([obj['image'] for obj in objects], dtype=torch.int64)
        self.has_mask = torch.tensor([obj['rle'] is not None for obj in objects])
        self.objects_of = [[] for _ in range(num)]
        for index, obj in enumerate(objects):
            self.objects_of[obj['image']].append(index)
        with ThreadPoolExecutor(workers) as pool:
            decoded = pool.map(self._decode, range(num))
            list(tqdm(decoded, total=num, desc='decoding photographs', delay=2))
        self.images, self.masks = self.images.to(device), self.masks.to(device)
        self.device = self.images.device

    def __len__(self) -> int:
        return len(self.photographs.paths)

    def _decode(self, index: int) -> None:
        image = np.ascontiguousarray(read_image(self.photographs.paths[index])[..., ::-1])  # RGB
        scale = min(1.0, CANVAS / max(image.shape[:2]))
        if scale < 1:
            image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        height, width = image.shape[:2]
        self.sizes[index] = torch.tensor([height, width])
        self.images[index, :, :height, :width] = torch.from_numpy(image).permute(2, 0, 1)
        for row in self.objects_of[index]:
            rle = self.photographs.objects[row]['rle']
            canvas = np.zeros((CANVAS, CANVAS), np.uint8)
            if rle is None:
                canvas[:height, :width] = 1
            else:
                mask = coco_mask.decode(rle)
                if mask.shape != (height, width):
                    mask = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST)
                canvas[:height, :width] = mask
            self.areas[row] = float(canvas.sum())
            self.masks[row] = torch.from_numpy(np.packbits(canvas, axis=1))

    def masks_of(self, objects: Tensor) -> Tensor:
        """Unpacked masks `(n, 1, 512, 512)` uint8 of objects `(n,)`, on the device."""
        bits = torch.arange(7, -1, -1, dtype=torch.uint8, device=self.device)
        packed = self.masks[objects.to(self.device)]
        return ((packed[..., None] >> bits) & 1).flatten(2)[:, None]
