"""Writes scenes of the small world to a folder in LVIS v1's format."""

import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
from filelock import FileLock
from pycocotools import mask as mask_utils
from tqdm import tqdm

from .categories import CATEGORIES, lvis_categories
from .scenes import SPLITS, draw_scene

_VERSION = 3  # raise it when the same seed draws different scenes
_JPEG_QUALITY = 92
_NUM_NEGATIVES = 8


def write_split(out, split, num_images, seed, progress=True, overwrite=False):
    """Writes `out/{split}/*.jpg` and `out/annotations/mini_{split}.json`.

    Scene i depends on seed, split and i only. Everything is written under temporary names and
    renamed at the end. A complete split made by the same call is kept as it is.

    The annotation file has LVIS v1's fields. Masks are COCO run lengths (compressed `counts` as
    text), not LVIS's polygons, since visible masks have holes and pieces; `pycocotools` reads
    both.

    Args:
        out (str | os.PathLike): Folder of the small world.
        split (str): `'train'`, `'val'` or `'test'`.
        num_images (int): Number of scenes.
        seed (int): Not negative.
        progress (bool): Whether to show a progress bar.
        overwrite (bool): Whether to replace a split that another call has made.

    Returns:
        pathlib.Path: The annotation file.

    Raises:
        ValueError: If split, number or seed are out of range.
        FileExistsError: If another split of this name is there and `overwrite` is false.
    """
    if split not in SPLITS:
        raise ValueError(f'split is {split!r}, expected one of {", ".join(map(repr, SPLITS))}')
    if num_images < 1 or seed < 0:
        raise ValueError(
            f'expected num_images of at least 1 and a seed of at least 0, got {num_images} and '
            f'{seed}'
        )
    out = Path(out)
    images, annotations = out / split, out / 'annotations' / f'mini_{split}.json'
    arguments = dict(version=_VERSION, split=split, num_images=num_images, seed=seed)
    out.mkdir(parents=True, exist_ok=True)
    with FileLock(out / f'.{split}.lock'):  # another process may be drawing the same split
        if images.exists() or annotations.exists():
            if _is_complete(images, annotations, arguments):
                return annotations
            if not overwrite:
                raise FileExistsError(
                    f'{images} or {annotations} exists and is not what {num_images} images of '
                    f'seed {seed} give: have dev/make_mini_world.py --overwrite replace it, or '
                    'choose another folder'
                )
        _draw_split(images, annotations, arguments, progress)
    return annotations


def _draw_split(images, annotations, arguments, progress):
    """Draws into a folder beside and moves it to its place, annotations last."""
    split = arguments['split']
    # one name, so that a killed run leaves nothing behind for long
    temporary = images.with_name(f'.{split}.tmp')
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    annotations.parent.mkdir(exist_ok=True)
    try:
        content = _write_images(
            temporary, split, arguments['num_images'], arguments['seed'], progress
        )
        draft = temporary / annotations.name
        draft.write_text(json.dumps(dict(content, info=_info(arguments)), separators=(',', ':')))
        annotations.unlink(missing_ok=True)
        if images.exists():
            shutil.rmtree(images)
        pending = annotations.with_name(f'.{annotations.name}.tmp')
        os.replace(draft, pending)
        os.replace(temporary, images)
        os.replace(pending, annotations)  # last: an annotation file says that the split is complete
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def scene_rng(seed, split, index):
    """The source of chance of one scene.

    Args:
        seed (int): Seed of the split.
        split (str): One of `SPLITS`.
        index (int): Number of the scene, from 0.

    Returns:
        numpy.random.Generator
    """
    return np.random.default_rng([seed, SPLITS.index(split), index])


def _info(arguments):
    return dict(description='mmovsam small world', **arguments)


def _is_complete(images, annotations, arguments):
    """Whether the split was made by the same arguments and lacks no image."""
    try:
        content = json.loads(annotations.read_text())
        return content['info'] == _info(arguments) and all(
            (images / _file_name(image['id'])).is_file() for image in content['images']
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _file_name(image_id):
    return f'{image_id:06d}.jpg'


def _write_images(folder, split, num_images, seed, progress):
    """Draws and writes all images; returns the annotation file's lists."""
    categories = lvis_categories()
    images_of = {category['id']: set() for category in categories}
    instances_of = dict.fromkeys(images_of, 0)
    images, annotations = [], []
    for index in tqdm(
        range(num_images), desc=f'drawing {split}', unit='scene', disable=not progress
    ):
        rng = scene_rng(seed, split, index)
        scene = draw_scene(rng, split)
        image_id = index + 1
        done, data = cv2.imencode(
            '.jpg', scene.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
        )
        if not done:
            raise OSError(f'OpenCV could not encode {_file_name(image_id)} as JPEG')
        (folder / _file_name(image_id)).write_bytes(data.tobytes())
        absent = sorted({category.id for category in CATEGORIES} - set(scene.category_ids))
        images.append(
            dict(
                id=image_id,
                width=scene.image.shape[1],
                height=scene.image.shape[0],
                coco_url=f'http://mini.world/{split}/{_file_name(image_id)}',
                flickr_url='',
                date_captured='',
                license=1,
                neg_category_ids=sorted(rng.choice(absent, _NUM_NEGATIVES, replace=False).tolist()),
                not_exhaustive_category_ids=[],
            )
        )
        encoded = mask_utils.encode(np.asfortranarray(scene.masks.transpose(1, 2, 0), np.uint8))
        for category_id, mask in zip(scene.category_ids, encoded):
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image_id,
                    category_id=category_id,
                    area=float(mask_utils.area(mask)),
                    bbox=mask_utils.toBbox(mask).tolist(),
                    segmentation=dict(size=mask['size'], counts=mask['counts'].decode('ascii')),
                    iscrowd=0,
                )
            )
            images_of[category_id].add(image_id)
            instances_of[category_id] += 1
    for category in categories:
        category['image_count'] = len(images_of[category['id']])
        category['instance_count'] = instances_of[category['id']]
    licenses = [
        dict(id=1, name='Apache License 2.0', url='https://www.apache.org/licenses/LICENSE-2.0')
    ]
    return dict(images=images, annotations=annotations, categories=categories, licenses=licenses)
