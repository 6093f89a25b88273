"""Entries of annotation files in COCO's JSON layout, checked before they are used.

An error names the entry and what is wrong with it; whoever reads the file adds the file's name.
"""

import math
from collections import Counter


def field(entry, key, where):
    """A field that an entry must have.

    Args:
        entry (dict): The entry.
        key (str): Name of the field.
        where (str): What the entry is, for the message.

    Returns:
        The field's value.

    Raises:
        ValueError: If there is no such field.
    """
    try:
        return entry[key]
    except (KeyError, TypeError):
        raise ValueError(f'{where} has no "{key}", which this format requires') from None


def identifier(entry, key, where):
    """A field that is an id.

    Args:
        entry (dict): The entry.
        key (str): Name of the field.
        where (str): What the entry is, for the message.

    Returns:
        int | float | str: The id.

    Raises:
        ValueError: If there is no such field, or it is neither a number nor text.
    """
    value = field(entry, key, where)
    if not isinstance(value, int | float | str):
        raise ValueError(f'{where} has {key} {value!r}, expected a number')
    return value


def id_list(image, key):
    """A field of an image that is a list of ids.

    Args:
        image (dict): The image's entry, with its `id`.
        key (str): Name of the field.

    Returns:
        list[int | float | str]: The ids.

    Raises:
        ValueError: If it is no list of numbers or text.
    """
    value = image[key]
    if not isinstance(value, list) or not all(isinstance(i, int | float | str) for i in value):
        raise ValueError(f'image {image["id"]} has {key} {value!r}, expected a list of ids')
    return value


def text(entry, key, where):
    """A field that is text.

    Args:
        entry (dict): The entry.
        key (str): Name of the field.
        where (str): What the entry is, for the message.

    Returns:
        str: The text.

    Raises:
        ValueError: If there is no such field, or it is no text.
    """
    value = field(entry, key, where)
    if not isinstance(value, str):
        raise ValueError(f'{where} has {key} {value!r}, expected text')
    return value


def entries(content, key):
    """One of the lists of an annotation file.

    Args:
        content (dict): The whole file.
        key (str): `'images'`, `'annotations'` or `'categories'`.

    Returns:
        list[dict]

    Raises:
        ValueError: If there is no such list, or it holds anything but objects.
    """
    found = field(content, key, 'the file')
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise ValueError(f'"{key}" has to be a list of objects')
    return found


def sort_categories(categories):
    """Categories in order of their ids.

    Args:
        categories (list[dict]): Entries of the file.

    Returns:
        list[dict]: Each with its own `id` and `name`.

    Raises:
        ValueError: If there is none, or an id or name is missing, no name, or occurs twice.
    """
    for category in categories:
        where = f'category {category.get("name", "without name")!r}'
        where = f'category {identifier(category, "id", where)}'
        text(category, 'name', where)
    if not categories:
        raise ValueError('the file has no category; add those that its annotations are of')
    for key in ('id', 'name'):
        _check_distinct([category[key] for category in categories], key, 'categories')
    return sorted(categories, key=lambda category: _order(category['id']))


def group_by_image(images, annotations, categories):
    """Assigns annotations to their images.

    Args:
        images (list[dict]): With `id`.
        annotations (list[dict]): With `image_id` and `category_id`.
        categories (list[dict]): With `id`.

    Returns:
        dict: Image ids in ascending order, each with the annotations of the image in their order.

    Raises:
        ValueError: If an id is missing, occurs twice, or belongs to nothing in the file.
    """
    known = {category['id'] for category in categories}
    ids = [identifier(image, 'id', 'an image') for image in images]
    _check_distinct(ids, 'id', 'images')
    by_image = {image_id: [] for image_id in sorted(ids, key=_order)}
    for annotation in annotations:
        where = name_of(annotation)
        image_id = identifier(annotation, 'image_id', where)
        category_id = identifier(annotation, 'category_id', where)
        if category_id not in known:
            raise ValueError(
                f"{where} has category_id {category_id!r}, which is none of the file's "
                f'{len(known)} categories; correct it or add the category'
            )
        if image_id not in by_image:
            raise ValueError(
                f"{where} has image_id {image_id!r}, which is none of the file's "
                f'{len(by_image)} images; correct the annotation or add the image'
            )
        by_image[image_id].append(annotation)
    return by_image


def image_size(image, where):
    """Height and width of an image in pixels.

    Args:
        image (dict): The image's entry.
        where (str): What the entry is, for the message.

    Returns:
        tuple[int, int]

    Raises:
        ValueError: If they are missing or not positive.
    """
    height, width = field(image, 'height', where), field(image, 'width', where)
    if not all(isinstance(side, int | float) and 0 < side < math.inf for side in (height, width)):
        raise ValueError(
            f'{where} has height {height!r} and width {width!r}, expected positive numbers of '
            'pixels'
        )
    return height, width


def instance(annotation, label, height, width, mask_required=True):
    """One annotation as MMDetection's transforms read it.

    Args:
        annotation (dict): The annotation's entry.
        label (int): Of its category.
        height (int): Of its image in pixels.
        width (int): Of its image in pixels.
        mask_required (bool): Whether an annotation without `segmentation` is an error.

    Returns:
        dict | None: `bbox` xyxy in pixels, `bbox_label`, `ignore_flag` (1 for a crowd) and, where
            there is one, `mask`; None for an annotation without area inside its image.

    Raises:
        ValueError: If box or segmentation are missing or of another form.
    """
    where = name_of(annotation)
    left, top, box_width, box_height = _box(annotation, where)
    visible_width = min(left + box_width, width) - max(left, 0)
    visible_height = min(top + box_height, height) - max(top, 0)
    area = annotation.get('area')
    if min(visible_width, visible_height) <= 0 or min(box_width, box_height) < 1:
        return None
    if isinstance(area, int | float) and area <= 0:
        return None
    found = dict(
        bbox=[left, top, left + box_width, top + box_height],
        bbox_label=label,
        ignore_flag=int(bool(annotation.get('iscrowd'))),
    )
    mask = _segmentation(annotation, where, height, width)
    if mask:
        found['mask'] = mask
    elif mask_required:
        raise ValueError(
            f'{where} has no "segmentation"; add it, or load boxes only where the dataset offers '
            'it (masks_required=False)'
        )
    return found


def name_of(annotation):
    """How messages name an annotation."""
    return f'annotation {annotation.get("id", "without id")}'


def _order(value):
    """Sorts numbers before text, which Python does not compare."""
    return isinstance(value, str), value


def _check_distinct(values, key, kind):
    twice = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        raise ValueError(f'two {kind} have the {key} {twice[0]!r}; give each its own')


def _box(annotation, where):
    box = field(annotation, 'bbox', where)
    try:
        good = len(box) == 4 and all(map(math.isfinite, box))
    except (TypeError, OverflowError):
        good = False
    if not good:
        raise ValueError(
            f'{where} has bbox {box!r}, expected finite numbers [left, top, width, height] in '
            'pixels'
        )
    return box


def _segmentation(annotation, where, height, width):
    """Polygons or run lengths; None where there are none."""
    found = annotation.get('segmentation')
    if not found:
        return None
    if isinstance(found, dict):
        counts = found.get('counts')
        good = found.get('size') == [height, width] and (
            (isinstance(counts, str) and counts != '')
            or (_are_finite(counts) and sum(counts) == height * width)
        )
    else:
        good = isinstance(found, list) and all(map(_are_finite, found))
    if not good:
        raise ValueError(
            f'{where} has segmentation {_shortened(found)}, expected polygons '
            '[[x1, y1, x2, y2, x3, y3, ...], ...] or run lengths {"size": '
            f'[{height}, {width}], "counts": ...}} of the whole image'
        )
    return found


def _are_finite(numbers):
    if not isinstance(numbers, list) or set(map(type, numbers)) - {int, float}:
        return False
    try:
        return math.isfinite(sum(numbers))
    except OverflowError:
        return False


def _shortened(value):
    shown = repr(value)
    return shown if len(shown) <= 80 else f'{shown[:77]}...'
