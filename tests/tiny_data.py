"""A few random images and annotations of them in LVIS's format, with the classes plum and owl."""

import itertools
import json
from pathlib import Path

import numpy as np
import tiny
from PIL import Image

RUNTIME = Path(__file__).resolve().parents[1] / 'configs' / '_base_' / 'default_runtime.py'
NUMBERS = itertools.count()
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


def write_test_config(path, model, dataset, workers=0):
    """A config that tests a model on a data set, on top of our runtime."""
    config = dict(
        _base_=str(RUNTIME),
        test_pipeline=PIPELINE,
        model=model,
        test_dataloader=dict(
            batch_size=1,
            num_workers=int(workers),
            sampler=dict(type='DefaultSampler', shuffle=False),
            dataset=dataset,
        ),
        test_evaluator=dict(type='OpenVocabMetric'),
        test_cfg=dict(),
        visualizer=dict(_delete_=True, type='mmengine.Visualizer'),
        log_level='ERROR',
        # MMEngine keeps loggers by name, and this one's output is captured for one test
        experiment_name=f'{path.stem}{next(NUMBERS)}',
    )
    path.write_text('\n'.join(f'{key} = {value!r}' for key, value in config.items()))
