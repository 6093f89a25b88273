"""A few random images and annotations of them in LVIS's format, with the classes plum and owl."""

import json

import numpy as np
import tiny
from PIL import Image

PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeLongestSide', size=tiny.SIZE),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]


def annotation(number, bbox, image_id=1):
    left, top, width, height = bbox
    polygon = [left, top, left + width, top, left + width, top + height, left, top + height]
    return dict(
        id=number,
        image_id=image_id,
        category_id=number % 2 + 1,
        area=width * height,
        bbox=bbox,
        iscrowd=0,
        segmentation=[polygon],
    )


def write_data(folder, shapes, annotations):
    """Images of the given shapes, and a file in LVIS's format."""
    images = []
    random = np.random.default_rng(0)
    for number, (height, width) in enumerate(shapes, 1):
        pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f'{number}.png')
        images.append(
            dict(
                id=number,
                file_name=f'{number}.png',
                height=height,
                width=width,
                neg_category_ids=[],
                not_exhaustive_category_ids=[],
            )
        )
    categories = [
        dict(id=1, name='plum', frequency='f', synonyms=['plum']),
        dict(id=2, name='owl', frequency='r', synonyms=['owl']),
    ]
    content = dict(images=images, annotations=annotations, categories=categories)
    (folder / 'lvis.json').write_text(json.dumps(content))


def dataset_config(folder, **kwargs):
    return dict(
        type='OVLVISDataset',
        data_root=str(folder),
        ann_file='lvis.json',
        data_prefix=dict(img=''),
        pipeline=PIPELINE,
        **kwargs,
    )
