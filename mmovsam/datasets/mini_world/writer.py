"""Writes the small world: scenes in LVIS v1's format, pictures in a folder for each class."""

import contextlib
import hashlib
import json
import os
import shutil
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
from filelock import FileLock
from pycocotools import mask as mask_utils
from tqdm import tqdm

from ...fileio import write_atomic
from ...vocabulary import novel_flags
from .categories import CATEGORIES
from .pictures import draw_picture
from .scenes import SPLITS, draw_scene

# raise one when the same seed draws something else
_SCENES_VERSION, _PICTURES_VERSION = 3, 1
_PICTURES_STREAM = 4  # keeps pictures apart from what else is drawn with the same seed
_JPEG_QUALITY = 92
_NUM_NEGATIVES = 8


def write_split(out, split, num_images, seed, progress=True, overwrite=False):
    """Write scenes as `out/{split}/*.jpg` and `out/annotations/mini_{split}.json`.

    Scene i depends on seed, split and i only. A complete split made by the same call is kept as it
    is; of several processes that ask for one, the first draws it. The annotation file, which is
    written last, has LVIS v1's fields. Masks are COCO run lengths (compressed `counts` as text),
    not LVIS's polygons, since visible masks have holes and pieces.

    Returns:
        pathlib.Path: The annotation file.

    Raises:
        ValueError: If split, number or seed are out of range.
        FileExistsError: If another split of this name is there and `overwrite` is false.
    """
    if split not in SPLITS or num_images < 1 or seed < 0:
        raise ValueError(
            f'expected a split of {", ".join(SPLITS)}, num_images of at least 1 and a seed of at '
            f'least 0, got {split!r}, {num_images} and {seed}'
        )
    out = Path(out)
    images, annotations = out / split, out / 'annotations' / f'mini_{split}.json'
    info = dict(
        description='mmovsam small world',
        version=_SCENES_VERSION, split=split, num_images=num_images, seed=seed,
    )  # fmt: skip
    annotations.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(out / f'.{split}.lock'):
        if images.exists() or annotations.exists():
            if _is_complete(images, annotations, info):
                return annotations
            if not overwrite:
                raise FileExistsError(
                    f'{images} or {annotations} exists and is not what {num_images} images of '
                    f'seed {seed} give: have dev/make_mini_world.py --overwrite replace it, or '
                    'choose another folder'
                )
        with _draft(out / f'.{split}.tmp') as draft:
            content = _write_scenes(draft, split, num_images, seed, progress)
            annotations.unlink(missing_ok=True)
            shutil.rmtree(images, ignore_errors=True)
            os.replace(draft, images)
            content = json.dumps(dict(content, info=info), separators=(',', ':'))
            write_atomic(annotations, content)  # last: it says that the split is complete
    return annotations


def write_pictures(out, num_images, seed, novel=None, size=128, progress=True):
    """Write pictures as `out/pictures_.../{name of the class}/{number}.jpg`, half of them novel.

    Picture i depends on the arguments and i only. The folder's name stands for the arguments, and
    it gets that name when it is complete: if it is there, nothing is done.

    Args:
        out (str | os.PathLike): Where the folder is.
        num_images (int): Number of pictures.
        seed (int): Not negative.
        novel (Sequence[str], optional): Names of the novel classes, as
            `mmovsam.vocabulary.novel_flags` takes them; by default the categories' own.
        size (int): Side of a picture in pixels.
        progress (bool): Whether to show a progress bar.

    Returns:
        pathlib.Path: The folder.

    Raises:
        ValueError: If a number is out of range or a novel class is none.
    """
    if num_images < 1 or seed < 0 or size < 1:
        raise ValueError(
            'expected num_images and size of at least 1 and a seed of at least 0, got '
            f'{num_images}, {size} and {seed}'
        )
    flags = [category.novel for category in CATEGORIES]
    if novel is not None:
        flags = list(novel_flags([category.name for category in CATEGORIES], novel))
    pools = [[category for category, flag in zip(CATEGORIES, flags) if flag == wanted]
             for wanted in (False, True)]  # fmt: skip
    arguments = [_PICTURES_VERSION, num_images, seed, flags, 0.5, size]
    out, key = Path(out), hashlib.sha1(json.dumps(arguments).encode()).hexdigest()[:12]
    folder = out / f'pictures_{key}'
    out.mkdir(parents=True, exist_ok=True)
    with FileLock(out / f'.{folder.name}.lock'):
        if folder.is_dir():
            return folder
        with _draft(out / f'.{folder.name}.tmp') as draft:
            for index in tqdm(
                range(num_images), desc='drawing pictures', unit='picture', disable=not progress
            ):
                rng = np.random.default_rng([seed, _PICTURES_STREAM, index])
                pool = pools[rng.random() < 0.5]
                category = pool[rng.integers(len(pool))]
                image, _ = draw_picture(rng, size, category)
                _write_jpeg(draft / category.name.replace(' ', '_') / f'{index:06d}.jpg', image)
            os.replace(draft, folder)
    return folder


def scene_rng(seed, split, index):
    """The `numpy.random.Generator` of one scene of a split; numbers begin with 0."""
    return np.random.default_rng([seed, SPLITS.index(split), index])


@contextlib.contextmanager
def _draft(folder):
    """An empty folder that is gone at the end, unless it was renamed."""
    shutil.rmtree(folder, ignore_errors=True)  # a killed run's
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_complete(images, annotations, info):
    """Whether the split was made by the same arguments and lacks no image."""
    try:
        content = json.loads(annotations.read_text())
        return content['info'] == info and all(
            (images / _file_name(image['id'])).is_file() for image in content['images']
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _file_name(image_id):
    return f'{image_id:06d}.jpg'


def _write_jpeg(path, image):
    done, data = cv2.imencode('.jpg', image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not done:
        raise OSError(f'OpenCV could not encode {path.name} as JPEG')
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data.tobytes())


def _write_scenes(folder, split, num_images, seed, progress):
    """Draws and writes all images; returns the annotation file's lists."""
    images, annotations = [], []
    for image_id in tqdm(
        range(1, num_images + 1), desc=f'drawing {split}', unit='scene', disable=not progress
    ):
        rng = scene_rng(seed, split, image_id - 1)
        scene = draw_scene(rng, split)
        _write_jpeg(folder / _file_name(image_id), scene.image)
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
        annotations += [
            dict(
                id=number,
                image_id=image_id,
                category_id=category_id,
                area=float(mask_utils.area(mask)),
                bbox=mask_utils.toBbox(mask).tolist(),
                segmentation=dict(size=mask['size'], counts=mask['counts'].decode('ascii')),
                iscrowd=0,
            )
            for number, (category_id, mask) in enumerate(
                zip(scene.category_ids, encoded), len(annotations) + 1
            )
        ]
    instances = Counter(each['category_id'] for each in annotations)
    pairs = {(each['image_id'], each['category_id']) for each in annotations}
    in_images = Counter(category_id for _, category_id in pairs)
    categories = [
        dict(
            id=category.id,
            name=category.name,
            synonyms=[category.name],
            synset=f'{category.name.replace(" ", "_")}.n.01',
            frequency=category.frequency,
            image_count=in_images[category.id],
            instance_count=instances[category.id],
            **{'def': f'a {category.name}'},
        )
        for category in CATEGORIES
    ]
    licenses = [
        dict(id=1, name='Apache License 2.0', url='https://www.apache.org/licenses/LICENSE-2.0')
    ]
    return dict(images=images, annotations=annotations, categories=categories, licenses=licenses)
