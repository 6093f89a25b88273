"""Files of the small world: scenes in LVIS v1's format, pictures in a folder for each class."""

import contextlib
import json
import os
import shutil
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as mask_utils
from tqdm import tqdm

from mmovsam.fileio import write_atomic
from mmovsam.vocabulary import novel_flags

from .categories import CATEGORIES
from .pictures import draw_picture
from .scenes import SPLITS, draw_scene

# number of scenes and seed in the configs
_DEFAULTS = dict(train=(4000, 1), val=(200, 2), test=(200, 20261122))
# classes without labeled scenes in ovsam_mini_22k.py: the last two shapes and digits
HELD_OUT = ('* hexagon', '* arrow', '* digit eight', '* digit nine')
_SCENES_VERSION = 3  # to raise when the drawings of a seed change
_PICTURES_STREAM = 4  # of seeds, apart from those of scenes
_JPEG_QUALITY = 92
_NUM_NEGATIVES = 8


def write_split(out, split, num_images=None, seed=None, progress=True, overwrite=False):
    """Write scenes as `out/{split}/*.jpg` and `out/annotations/mini_{split}.json`.

    Scene i depends on seed, split and i only. An existing split of the same settings is kept. The
    annotation file, which is written last, has LVIS v1's fields. Masks are compressed RLEs, not
    LVIS's polygons, since visible masks have holes and pieces.

    Args:
        out (str | os.PathLike): Folder of all splits.
        split (str): One of `SPLITS`.
        num_images (int, optional): Number of scenes, by default of the configs.
        seed (int, optional): By default of the configs.
        progress (bool): Whether to show a progress bar.
        overwrite (bool): Whether to replace a split of other settings.

    Returns:
        pathlib.Path: The annotation file.

    Raises:
        ValueError: If split, number or seed are out of range.
        FileExistsError: If there is a split of other settings and `overwrite` is false.
    """
    default_number, default_seed = _DEFAULTS.get(split, (1, 0))
    num_images = default_number if num_images is None else num_images
    seed = default_seed if seed is None else seed
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
    if annotations.exists() and json.loads(annotations.read_text()).get('info') == info:
        return annotations
    if (images.exists() or annotations.exists()) and not overwrite:
        raise FileExistsError(
            f'{images} or {annotations} exists and is not what {num_images} images of seed {seed} '
            'give: have dev/make_mini_world.py --overwrite replace it, or choose another folder'
        )
    annotations.parent.mkdir(parents=True, exist_ok=True)
    with _draft(out / f'.{split}.tmp') as draft:
        content = _write_scenes(draft, split, num_images, seed, progress)
        annotations.unlink(missing_ok=True)
        shutil.rmtree(images, ignore_errors=True)
        os.replace(draft, images)
        content = json.dumps(dict(content, info=info), separators=(',', ':'))
        write_atomic(annotations, content)  # last: it marks a complete split
    return annotations


def write_pictures(out, num_images=2000, seed=7, size=128, progress=True):
    """Write pictures as `out/{name of the class}/{number}.jpg`, half of them of `HELD_OUT` shapes.

    Picture i depends on the arguments and i only. An existing folder is kept.
    """
    out = Path(out)
    if out.is_dir():
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    flags = novel_flags([category.name for category in CATEGORIES], HELD_OUT)
    pools = [
        [category for category, flag in zip(CATEGORIES, flags) if flag == held_out]
        for held_out in (False, True)
    ]
    with _draft(out.with_name(f'.{out.name}.tmp')) as draft:
        for index in tqdm(
            range(num_images), desc='drawing pictures', unit='picture', disable=not progress
        ):
            rng = np.random.default_rng([seed, _PICTURES_STREAM, index])
            pool = pools[rng.random() < 0.5]
            category = pool[rng.integers(len(pool))]
            image, _ = draw_picture(rng, size, category)
            _write_jpeg(draft / category.name.replace(' ', '_') / f'{index:06d}.jpg', image)
        os.replace(draft, out)


def scene_rng(seed, split, index):
    """The `numpy.random.Generator` of a scene of a split, with an index from 0."""
    return np.random.default_rng([seed, SPLITS.index(split), index])


@contextlib.contextmanager
def _draft(folder):
    """An empty folder that is removed at the end, unless it was renamed."""
    shutil.rmtree(folder, ignore_errors=True)  # of a killed run
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _file_name(image_id):
    return f'{image_id:06d}.jpg'


def _write_jpeg(path, image):
    success, data = cv2.imencode(
        '.jpg', image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    )
    if not success:
        raise OSError(f'OpenCV could not encode {path.name} as JPEG')
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data.tobytes())


def _write_scenes(folder, split, num_images, seed, progress):
    """Draw and write all images; returns the lists of the annotation file."""
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
    instance_counts = Counter(annotation['category_id'] for annotation in annotations)
    pairs = {(annotation['image_id'], annotation['category_id']) for annotation in annotations}
    image_counts = Counter(category_id for _, category_id in pairs)
    categories = [
        dict(
            id=category.id,
            name=category.name,
            synonyms=[category.name],
            synset=f'{category.name.replace(" ", "_")}.n.01',
            frequency=category.frequency,
            image_count=image_counts[category.id],
            instance_count=instance_counts[category.id],
            **{'def': f'a {category.name}'},
        )
        for category in CATEGORIES
    ]
    licenses = [
        dict(id=1, name='Apache License 2.0', url='https://www.apache.org/licenses/LICENSE-2.0')
    ]
    return dict(images=images, annotations=annotations, categories=categories, licenses=licenses)
