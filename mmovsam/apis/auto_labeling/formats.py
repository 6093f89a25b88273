"""Writes labels in the formats of annotation tools and trainers.

Labels of an image are a record: `file_name`, `width` and `height` in pixels, and `objects`, each a
dict with

- `name`, of the class, and `score`; `top_k`, a list of `name` and `score` of the best names;
- `bbox`, x, y, width, height of the mask in pixels; `area` in pixels;
- `counts`, the mask's run lengths as text, as in COCO's JSON;
- optionally `polygons`, see `object_polygons`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from ...fileio import atomic_path, mark_results, write_atomic
from ...validation import require_choice
from ...version import __version__
from ..input_list import file_key
from ..polygons import joined, polygons_of
from ..tidying import label_map, non_overlapping
from .label_studio import label_studio_tasks
from .yolo_pictures import link_or_copy, picture_files, train_val_split

FORMATS = ('coco', 'coco_panoptic', 'labelme', 'yolo', 'label_studio')
LABELME_VERSION = '5.5.0'  # of the file format
UNNAMED = 'object'  # name of all objects if the model only segments
SCORE_DIGITS = 5


def label_files(out: Path, format: str, names: Iterable[str]) -> list[Path]:
    """The label files of images with the given names.

    `out` is a file for COCO (the panoptic format also has a folder of that name without `.json`)
    and Label Studio (which also has a file that ends with `.xml`), a folder for LabelMe and YOLO.

    Raises:
        ValueError: The format is unknown, `out` exists as a folder rather than a file or vice
            versa, or two images would have the same file.
    """
    require_choice(FORMATS, format=format)
    if format in ('coco', 'coco_panoptic', 'label_studio'):
        if out.is_dir():
            raise ValueError(f'{out} is a folder, expected a JSON file to write.')
        if format == 'coco':
            return [out]
        if out.suffix != '.json':
            raise ValueError(f'{out} should end with .json: what is beside it has the rest.')
        if format == 'label_studio':
            return [out, out.with_suffix('.xml')]
    elif out.is_file():
        raise ValueError(f'{out} is a file, expected a folder to write to.')
    files = distinct_files({name: _label_file(out, format, name) for name in names})
    return [out, *files] if format == 'coco_panoptic' else files


def shard_files(out: Path, names: Sequence[str], size: int) -> dict[Path, Sequence[str]]:
    """Shards, such as `labels-00001-of-00123.json` beside `out`, with `size` images each."""
    shards = [names[start : start + size] for start in range(0, len(names), size)]
    return {
        out.with_name(f'{out.stem}-{number:05}-of-{len(shards):05}{out.suffix}'): shard
        for number, shard in enumerate(shards, 1)
    }


def picture_folder(out: Path, format: str, source: str | os.PathLike) -> Path | None:
    """The folder of a format that writes pictures, if it lies below `source`."""
    if format not in ('yolo', 'coco_panoptic'):
        return None
    folder = out / 'images' if format == 'yolo' else out.with_suffix('')
    is_below = Path(source).resolve() in folder.resolve().parents
    return folder if is_below else None


def distinct_files(files: Mapping[str, Path]) -> list[Path]:
    """Check that the result files of images, by image name, are different on any file system.

    Raises:
        ValueError: Two images would have the same file.
    """
    images: dict[str, str] = {}
    for name, file in files.items():
        other = images.setdefault(file_key(str(file)), name)
        if other != name:
            raise ValueError(
                f'The results of {other} and {name} would both be in {file}. Rename one.'
            )
    return list(files.values())


def _label_file(out: Path, format: str, name: str) -> Path:
    """The label file of an image, in formats that have one for each."""
    if format == 'coco_panoptic':
        return out.with_suffix('') / PurePosixPath(name).with_suffix('.png')
    if format == 'yolo':  # as Ultralytics looks for it
        start, _, end = f'{out.as_posix()}/images/{name}'.rpartition('/images/')
        return Path(f'{start}/labels/{end}').with_suffix('.txt')
    return out / PurePosixPath(name).with_suffix('.json')


def write_labels(
    out: Path,
    format: str,
    records: Iterable[Mapping],
    images: Mapping[str, Path],
    names: Sequence[str],
    polygons: bool,
    label_config: str | None = None,
    first_ids: tuple[int, int] = (1, 1),
) -> None:
    """Write labels in one of `FORMATS`; see `write_coco` and the other functions."""
    if format == 'coco':
        write_coco(out, records, names, polygons, first_ids)
    elif format == 'coco_panoptic':
        write_coco_panoptic(out, records, names)
    elif format == 'labelme':
        write_labelme(out, records, images)
    elif format == 'label_studio':
        write_label_studio(out, records, images, label_config)
    else:
        write_yolo(out, records, images, names)


def write_coco(
    out: Path,
    records: Iterable[Mapping],
    names: Sequence[str],
    polygons: bool = False,
    first_ids: tuple[int, int] = (1, 1),
) -> None:
    """Write a file in COCO's JSON format.

    `file_name` is relative to the folder of the images. Besides COCO's fields, annotations have
    `score` and `top_k`, a list of `dict(name=..., score=...)`.

    Args:
        out: The file; it is written atomically.
        records: Iterated twice, and not kept in memory.
        names: Names of the categories, whose ids are 1, 2 and so on.
        polygons: Whether masks are polygons, see `mask_to_polygons`, or run lengths.
        first_ids: First ids of images and of annotations.
    """
    ids, numbers = {name: number for number, name in enumerate(names, 1)}, count(first_ids[1])
    annotations = (
        dict(
            id=next(numbers),
            image_id=image_id,
            category_id=ids[thing['name']],
            segmentation=[ring.flatten().tolist() for ring in object_polygons(record, thing)]
            if polygons
            else _rle(record, thing),
            **{key: thing[key] for key in ('area', 'bbox')},
            iscrowd=0,
            **{key: thing[key] for key in ('score', 'top_k')},
        )
        for image_id, record in enumerate(records, first_ids[0])
        for thing in record['objects']
    )
    _write_coco(out, records, names, annotations, first_ids[0])


def write_coco_panoptic(out: Path, records: Iterable[Mapping], names: Sequence[str]) -> None:
    """Write COCO's panoptic format: a JSON file, and a folder with a PNG of ids for each image.

    Masks are made disjoint by `mmovsam.apis.non_overlapping`. The id of a pixel is
    R + 256 G + 65536 B, 0 where there is no object; `segments_info` has `name` and `score` besides
    COCO's fields. All categories are things. Arguments are those of `write_coco`.
    """
    _write_coco(out, records, names, _panoptic_annotations(out, records, names), isthing=1)


def _panoptic_annotations(
    out: Path, records: Iterable[Mapping], names: Sequence[str]
) -> Iterator[dict]:
    for image_id, record in enumerate(records, 1):
        things = [dict(thing, segmentation=_rle(record, thing)) for thing in record['objects']]
        shape = record['height'], record['width']
        ids, segments = label_map(non_overlapping(things), shape, names)
        path = _label_file(out, 'coco_panoptic', record['file_name'])
        colors = np.stack([ids >> 16, ids >> 8, ids], axis=2).astype(np.uint8)  # BGR
        mark_results(out.with_suffix(''))
        write_atomic(path, cv2.imencode('.png', colors)[1].tobytes())
        file_name = path.relative_to(out.with_suffix('')).as_posix()
        yield dict(image_id=image_id, file_name=file_name, segments_info=segments)


def _write_coco(
    out: Path,
    records: Iterable[Mapping],
    names: Sequence[str],
    annotations: Iterable[Mapping],
    first_id: int = 1,
    **category_fields,
) -> None:
    info = dict(description=f'Labeled by mmovsam {__version__}', version=__version__)
    images = (
        dict(id=i, **{key: record[key] for key in ('file_name', 'width', 'height')})
        for i, record in enumerate(records, first_id)
    )
    categories = (
        dict(id=number, name=name, supercategory='', **category_fields)
        for number, name in enumerate(names, 1)
    )
    lists = dict(categories=categories, images=images, annotations=annotations)
    with atomic_path(out) as path, path.open('w', encoding='utf-8') as file:
        file.write(f'{{\n"info": {json.dumps(info)},\n"licenses": []')
        for key, items in lists.items():
            file.write(f',\n"{key}": ')
            _write_list(file, items)
        file.write('\n}\n')


def _write_list(file, items: Iterable[Mapping]) -> None:
    """Write a JSON list item by item."""
    separator = '['
    for item in items:
        file.write(f'{separator}\n{json.dumps(item)}')
        separator = ','
    file.write('[]' if separator == '[' else '\n]')


def write_labelme(out: Path, records: Iterable[Mapping], images: Mapping[str, Path]) -> None:
    """Write a LabelMe JSON for each image to the folder `out`, with the images' subfolders.

    The polygons of an object, see `mask_to_polygons`, have a common `group_id`. Shapes have `score`
    and `top_k` besides LabelMe's fields. `images` are paths by `file_name`, which files refer to by
    relative paths. Existing files of other names are kept.
    """
    for record in records:
        path = _label_file(out, 'labelme', record['file_name'])
        shapes = []
        for number, thing in enumerate(record['objects'], 1):
            polygons = object_polygons(record, thing)
            shape = dict(
                label=thing['name'],
                group_id=number if len(polygons) > 1 else None,
                description='',
                shape_type='polygon',
                flags={},
                score=thing['score'],
                top_k=thing['top_k'],
            )
            shapes += (dict(shape, points=polygon.tolist()) for polygon in polygons)
        image = os.path.relpath(images[record['file_name']], path.parent)
        content = dict(
            version=LABELME_VERSION,
            flags={},
            shapes=shapes,
            imagePath=Path(image).as_posix(),
            imageData=None,
            imageHeight=record['height'],
            imageWidth=record['width'],
        )
        write_atomic(path, json.dumps(content, indent=1) + '\n')


def write_yolo(
    out: Path, records: Iterable[Mapping], images: Mapping[str, Path], names: Sequence[str]
) -> None:
    """Write a data set for Ultralytics' segmentation trainer to the folder `out`.

    - `images` has the pictures, see `picture_files`, and `labels` a text file for each, with a line
      for each object: its class, from 0, and a polygon as fractions of the image's width and
      height. The polygons of an object are joined, see `joined`. There are no scores.
    - `train.txt` and `val.txt` list the pictures, see `train_val_split`.
    - `data.yaml` has these, the classes, and the absolute path of the folder.

    `images` are paths by `file_name`. Existing files of other names are kept.
    """
    labels = {name: number for number, name in enumerate(names)}
    for record in records:
        lines = []
        for thing in record['objects']:
            ring = joined(object_polygons(record, thing)) / (record['width'], record['height'])
            numbers = ' '.join(f'{number:.6g}' for number in ring.flatten())
            lines.append(f'{labels[thing["name"]]} {numbers}\n')
        write_atomic(_label_file(out, 'yolo', record['file_name']), ''.join(lines))
    for name, picture in picture_files(out, images).items():
        mark_results(out / 'images')
        link_or_copy(images[name], picture)
    for file, split in train_val_split(out, images).items():
        write_atomic(out / file, ''.join(f'./images/{name}\n' for name in split))
    # JSON strings are valid YAML
    classes = ''.join(
        f'  {number}: {json.dumps(name, ensure_ascii=False)}\n' for name, number in labels.items()
    )
    folder = json.dumps(os.path.abspath(out))
    write_atomic(
        out / 'data.yaml', f'path: {folder}\ntrain: train.txt\nval: val.txt\nnames:\n{classes}'
    )


def write_label_studio(
    out: Path, records: Iterable[Mapping], images: Mapping[str, Path], label_config: str
) -> None:
    """Write Label Studio's tasks with predictions, see `label_studio_tasks`, to the file `out`.

    The label config, see `label_config_of`, is written beside it with the suffix `.xml`.
    """
    with atomic_path(out) as path, path.open('w', encoding='utf-8') as file:
        _write_list(file, label_studio_tasks(records, images, label_config))
        file.write('\n')
    write_atomic(out.with_suffix('.xml'), label_config)


def _rle(record: Mapping, thing: Mapping) -> dict:
    return dict(size=[record['height'], record['width']], counts=thing['counts'])


def object_polygons(record: Mapping, thing: Mapping) -> list[np.ndarray]:
    """The polygons of an object, `(P, 2)` xy in pixels of the image, see `mask_to_polygons`."""
    if 'polygons' in thing:
        return list(map(np.array, thing['polygons']))
    return polygons_of(dict(thing, segmentation=_rle(record, thing)))


def object_record(
    name: str,
    score: float,
    segmentation: Mapping,
    names: Sequence[str],
    name_scores: Sequence[float],
) -> dict:
    """An object of a record, from its run lengths (`counts` as text) and its best names."""
    return dict(
        name=name,
        score=round(score, SCORE_DIGITS),
        top_k=[dict(name=n, score=round(s, SCORE_DIGITS)) for n, s in zip(names, name_scores)],
        bbox=coco_mask.toBbox(segmentation).tolist(),
        area=int(coco_mask.area(segmentation)),
        counts=segmentation['counts'],
    )
