"""Validated entries of annotation files in COCO's JSON layout.

Errors are `ValueError`s that name the entry; callers add the file's name. `where` is how messages
name an entry.
"""

import math
from collections import Counter
from functools import partial

import numpy as np
from pycocotools import mask as coco_mask

_FLAGS = {None: False, 0: False, 1: True, '0': False, '1': True, 'false': False, 'true': True}
_MAX_COORDINATE = 1_000_000  # pixels; pycocotools takes memory for each of an edge, or crashes
_MAX_CHARACTERS = 7  # of a compressed run, which is below 2**32


def field(entry, key, where, kinds=object, expected=''):
    """A required field of an entry."""
    try:
        value = entry[key]
    except (KeyError, TypeError):
        raise ValueError(f'{where} has no "{key}", which this format requires') from None
    if not isinstance(value, kinds):
        raise ValueError(f'{where} has {key} {value!r}, expected {expected}')
    return value


identifier = partial(field, kinds=int | float | str, expected='a number')
text = partial(field, kinds=str, expected='text')


def id_list(image, key):
    """A field of an image that is a list of ids."""
    ids = field(image, key, f'image {image["id"]}')
    if not isinstance(ids, list) or not all(isinstance(i, int | float | str) for i in ids):
        raise ValueError(f'image {image["id"]} has {key} {ids!r}, expected a list of ids')
    return ids


def entries(content, *keys):
    """The lists of objects with these keys of an annotation file."""
    lists = [field(content, key, 'the file') for key in keys]
    for key, values in zip(keys, lists):
        if not isinstance(values, list) or not all(isinstance(entry, dict) for entry in values):
            raise ValueError(f'"{key}" has to be a list of objects')
    return lists


def sort_categories(categories):
    """Categories in the order of their ids; ids and names must be unique."""
    for category in categories:
        where = f'category {category.get("name", "without name")!r}'
        where = f'category {identifier(category, "id", where)}'
        text(category, 'name', where)
    if not categories:
        raise ValueError('the file has no category; add those that its annotations are of')
    for key in ('id', 'name'):
        _check_distinct([category[key] for category in categories], key, 'categories')
    if len({isinstance(category['id'], str) for category in categories}) > 1:
        ids = ', '.join(repr(category['id']) for category in categories[:5])
        raise ValueError(f'category ids are numbers and text ({ids} ...); write all of them alike')
    return sorted(categories, key=lambda category: _numbers_first(category['id']))


def group_by_image(images, annotations, categories):
    """Image ids in ascending order, each with its annotations in their order.

    Raises:
        ValueError: An id is missing, occurs twice, or is not in the file.
    """
    image_ids = [identifier(image, 'id', 'an image') for image in images]
    _check_distinct(image_ids, 'id', 'images')
    by_image = {image_id: [] for image_id in sorted(image_ids, key=_numbers_first)}
    known_ids = dict(images=by_image, categories={category['id'] for category in categories})
    for annotation in annotations:
        for key, (kind, ids) in zip(('image_id', 'category_id'), known_ids.items()):
            reference = identifier(annotation, key, name_of(annotation))
            if reference not in ids:
                raise ValueError(
                    f'{name_of(annotation)} has {key} {reference!r}, which is none of the '
                    f"file's {len(ids)} {kind}; correct it, or add what it is of"
                )
        by_image[annotation['image_id']].append(annotation)
    return by_image


def image_size(image, where):
    """Height and width of an image in pixels."""
    height, width = field(image, 'height', where), field(image, 'width', where)
    if not all(isinstance(side, int | float) and 0 < side < math.inf for side in (height, width)):
        raise ValueError(
            f'{where} has height {height!r} and width {width!r}, expected positive numbers of '
            'pixels'
        )
    return height, width


def flag(entry, key, where):
    """A boolean field, as text or not; False if it is missing or null."""
    value = entry.get(key)
    try:
        return _FLAGS[value.lower() if isinstance(value, str) else value]
    except (KeyError, TypeError):
        raise ValueError(f'{where} has {key} {value!r}, expected 0 or 1') from None


def box(annotation, where):
    """The box of an annotation: left, top, width and height in pixels."""
    bbox = field(annotation, 'bbox', where)
    if not (isinstance(bbox, list) and len(bbox) == 4 and _are_finite(bbox)):
        raise ValueError(
            f'{where} has bbox {bbox!r:.80}, expected finite numbers [left, top, width, '
            'height] in pixels'
        )
    return bbox


def is_inside(box, height, width):
    """Whether a box, left, top, width and height, has area inside an image."""
    left, top, box_width, box_height = box
    visible_width = min(left + box_width, width) - max(left, 0)
    visible_height = min(top + box_height, height) - max(top, 0)
    return min(visible_width, visible_height, box_width, box_height) > 0


def box_area(annotation, where):
    """An annotation's `area` in pixels; the box's area if it is missing, null or 0."""
    area = annotation.get('area')
    if area is not None and not (_are_finite([area]) and area >= 0):
        raise ValueError(f'{where} has area {area!r:.80}, expected a number of pixels')
    _, _, width, height = box(annotation, where)
    return area or width * height


def instance(annotation, label, height, width, mask_required=True):
    """One annotation as an entry of MMDetection's `instances`; image size in pixels.

    Returns:
        dict | None: `bbox` xyxy in pixels, `bbox_label`, `ignore_flag` (1 for a crowd) and, if it
            has one, `mask`; None if the box, or a required mask, has no area inside the image.
    """
    where = name_of(annotation)
    left, top, box_width, box_height = bbox = box(annotation, where)
    if not is_inside(bbox, height, width) or min(box_width, box_height) < 1:
        return None
    is_crowd = flag(annotation, 'iscrowd', where)
    mask = segmentation(annotation, where, height, width)
    if mask_required and mask is None:
        raise ValueError(
            f'{where} has no "segmentation"; add it, or load boxes only where the dataset offers '
            'it (masks_required=False)'
        )
    if mask_required and not mask:
        return None
    return dict(
        bbox=[left, top, left + box_width, top + box_height],
        bbox_label=label,
        ignore_flag=int(is_crowd),
        **(dict(mask=mask) if mask else {}),
    )


def segmentation(annotation, where, height, width):
    """The mask of an annotation: its polygons that have area, or run lengths.

    Returns:
        list | dict | None: `[]` for a mask without pixels; None for no mask.

    Raises:
        ValueError: It is of another form, has a coordinate beyond a million, or its run lengths are
            not of the whole image.
    """
    mask = annotation.get('segmentation')
    if not mask:
        return None
    expected = (
        'expected polygons [[x1, y1, x2, y2, x3, y3, ...], ...] or run lengths {"size": '
        f'[{height}, {width}], "counts": ...}} of the whole image'
    )
    if isinstance(mask, list) and all(map(_are_finite, mask)):
        if any(max(map(abs, polygon), default=0) > _MAX_COORDINATE for polygon in mask):
            raise ValueError(f'{where} has segmentation {mask!r:.80}, far outside of the image')
        polygons = [polygon for polygon in mask if _has_area(polygon)]
        return polygons if _have_pixels(polygons, height, width) else []
    if not isinstance(mask, dict) or mask.get('size') != [height, width]:
        raise ValueError(f'{where} has segmentation {mask!r:.80}, {expected}')
    try:
        runs = run_lengths(mask.get('counts'))
        if runs.min() < 0 or runs.sum() != height * width:
            raise ValueError(f'runs of {runs.min()} to {runs.max()} pixels, {runs.sum()} in all')
    except ValueError as error:
        raise ValueError(f'{where} has segmentation {mask!r:.80} ({error}), {expected}') from None
    return mask if runs[1::2].any() else []


def run_lengths(counts):
    """Decode COCO's `counts` to run lengths (N,) int64 and check them, which pycocotools does not.

    Text has five bits of a number in each character, the lowest first, and a sixth if more
    follow. From the fourth on numbers are differences to the number before the last. The sum is not
    checked.

    Raises:
        ValueError: The counts are neither whole numbers nor such text.
    """
    if not isinstance(counts, str):
        if not counts or not _are_finite(counts) or any(count % 1 for count in counts):
            raise ValueError('counts are neither text nor whole numbers')
        return np.array(counts, np.float64).astype(np.int64)
    characters = counts.encode() if counts.isascii() else b''
    codes = np.frombuffer(characters, np.uint8).astype(np.int64) - 48
    if not len(codes) or codes.min() < 0 or codes.max() > 63:
        raise ValueError('counts have other characters than run lengths have, or none')
    (ends,) = np.nonzero(codes < 32)
    starts = np.concatenate(([0], ends[:-1] + 1))
    sizes = ends + 1 - starts
    if codes[-1] >= 32:
        raise ValueError('counts are cut off')
    if sizes.max() > _MAX_CHARACTERS:
        raise ValueError('counts have a run that is too large, of more than 32 bits')
    runs = np.add.reduceat(
        (codes & 31) << 5 * (np.arange(len(codes)) - starts.repeat(sizes)), starts
    )
    runs -= (codes[ends] >= 16).astype(np.int64) << 5 * sizes  # negative
    runs[1::2] = runs[1::2].cumsum()
    runs[2::2] = runs[2::2].cumsum()
    return runs


def left_out(annotations, count, why):
    """A sentence for a warning about annotations, of `count`, that are left out."""
    names = ', '.join(map(name_of, annotations[:3])) + ' ...' * (len(annotations) > 3)
    return f'{len(annotations)} of {count} annotations are left out ({names}): {why}'


def name_of(annotation):
    """How messages name an annotation."""
    return f'annotation {annotation.get("id", "without id")}'


def _numbers_first(value):
    """A sort key for numbers and text, which Python does not compare."""
    return isinstance(value, str), value


def _check_distinct(values, key, kind):
    duplicates = [value for value, count in Counter(values).items() if count > 1]
    if duplicates:
        raise ValueError(f'two {kind} have the {key} {duplicates[0]!r}; give each its own')


def _has_area(polygon):
    if len(polygon) < 6 or len(polygon) % 2:
        return False
    x, y = polygon[:2]
    dx = dy = 0
    for next_x, next_y in zip(polygon[2::2], polygon[3::2]):
        if dx * (next_y - y) != dy * (next_x - x):
            return True
        if dx == dy == 0:
            dx, dy = next_x - x, next_y - y
    return False


def _have_pixels(polygons, height, width):
    """Whether polygons that have area cover a pixel of the image."""
    for polygon in polygons:
        axes = (polygon[::2], width), (polygon[1::2], height)
        if all(min(max(values), end) - max(min(values), 0) >= 2 for values, end in axes):
            return True  # nearly all; the rest is rasterized
    rles = coco_mask.frPyObjects(polygons, int(height), int(width)) if polygons else []
    return bool(np.sum(coco_mask.area(rles)))


def _are_finite(numbers):
    if not isinstance(numbers, list) or set(map(type, numbers)) - {int, float}:
        return False
    try:
        return math.isfinite(sum(numbers))
    except OverflowError:
        return False
