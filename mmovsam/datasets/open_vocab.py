"""The base class of datasets with base and novel categories."""

import os.path as osp

import numpy as np
from mmdet.datasets import CocoDataset
from mmdet.visualization import get_palette
from mmengine.logging import print_log

from ..fileio import read_json
from ..logs import warn
from ..prompts.boxes import CORNERS, check_units, look_like_corners
from ..vocabulary import novel_flags
from .annotations import (
    entries,
    flag,
    group_by_image,
    id_list,
    image_size,
    instance,
    left_out,
    name_of,
    sort_categories,
    text,
)
from .files import on_disk
from .images import CheckedImages


class OpenVocabDataset(CheckedImages, CocoDataset):
    """Annotations in COCO's JSON layout with base and novel categories.

    `metainfo` has `classes` (K names), `novel` (K times True, False or, for a class that is
    neither, None; absent without a split), `synonyms` (K tuples of names, if the file has them) and
    `palette`.

    Segmentations may be polygons or run lengths, compressed or not. Crowds are ignored instances.
    Annotations without area inside their image (empty or inverted boxes, boxes outside of it, boxes
    narrower than a pixel, masks of no pixel) are left out of training and tests, with a warning.
    Images without annotations are kept, unless `filter_cfg` has `filter_empty_gt` in training.

    Args:
        novel (Sequence[str], optional): Names of the novel classes, see
            `mmovsam.vocabulary.novel_flags`; all others are base. By default the dataset's.
        base_only (bool): Whether annotations of categories that are not base are left out; labels
            stay indices into all K classes. Without a split nothing is left out.
        class_agnostic (bool): Whether all categories become one class, 'object', as for a region
            proposal network.
        absent_classes (bool): Whether `metainfo` may have classes that are not in the file, as for
            a part of a dataset.
        masks_required (bool): Whether an annotation without `segmentation` is an error. If not and
            one has none, the pipeline loads no masks.
        **kwargs: As MMDetection's `CocoDataset`. `filter_cfg` may also have `max_images`, in tests
            too: the maximum number of images, evenly spread.

    Attributes:
        class_counts (numpy.ndarray): (K,) int64, number of loaded annotations of each class.

    Raises:
        FileNotFoundError: If annotation file or image folder are missing; one message names both.
        ValueError: If the annotation file is truncated, lacks a field, has a box or segmentation
            of another form, names an unknown category or image, has two categories of one name, or
            boxes that all lie between 0 and 1, or nothing but annotations without area.
    """

    def __init__(
        self,
        *args,
        novel=None,
        base_only=False,
        class_agnostic=False,
        absent_classes=False,
        masks_required=True,
        **kwargs,
    ):
        self.novel = novel
        self.base_only = base_only
        self.class_agnostic = class_agnostic
        self.absent_classes = absent_classes
        self.masks_required = masks_required
        super().__init__(*args, **kwargs)

    @classmethod
    def _load_metainfo(cls, metainfo=None):
        """Drop what describes the classes of `METAINFO` if a user gives other classes."""
        merged = super()._load_metainfo(metainfo)
        if metainfo and 'classes' in metainfo:
            for key in {'novel', 'synonyms', 'palette'} - set(metainfo):
                merged.pop(key, None)
        return merged

    def load_data_list(self):
        """One dict an image, in the order of image ids; fills `metainfo`."""
        self.require_files(self.ann_file, self.data_prefix.get('img'))
        content = read_json(self.ann_file, self.REMEDY)
        try:
            data_list = self._parse(content)
        except ValueError as error:
            raise ValueError(f'{self.ann_file}: {error}. {self.REMEDY}') from None
        self.require_files(*sorted({osp.dirname(info['img_path']) for info in data_list}))
        if self.class_agnostic:
            for info in data_list:
                for entry in info['instances']:
                    entry['bbox_label'] = 0
            self._metainfo = dict(classes=('object',), novel=(False,), palette=[(220, 20, 60)])
        labels = [entry['bbox_label'] for info in data_list for entry in info['instances']]
        self.class_counts = np.bincount(labels, minlength=len(self._metainfo['classes']))
        return data_list

    def _parse(self, content):
        images, annotations, categories = entries(content, 'images', 'annotations', 'categories')
        self._load_categories(categories)
        by_image = group_by_image(images, annotations, categories)
        images = {image['id']: image for image in images}
        self._left_out = []
        data_list = [
            self.parse_data_info(dict(raw_img_info=images[image_id], raw_ann_info=image_anns))
            for image_id, image_anns in by_image.items()
        ]
        instances = [entry for info in data_list for entry in info['instances']]
        if self._left_out:
            message = left_out(
                self._left_out, len(annotations), 'their box or mask has no area inside the image'
            )
            if len(instances) <= len(self._left_out):
                check_units([entry['bbox'] for entry in [*self._left_out, *instances]])
            if not instances:
                raise ValueError(
                    f'{message}; nothing else is left. The first has bbox '
                    f'{self._left_out[0]["bbox"]}, expected [left, top, width, height] in pixels'
                )
            warn(f'{self.ann_file}: {message}')
            self._left_out = []
        boxes = [
            ((x1, y1, x2 - x1, y2 - y1), (info['width'], info['height']))
            for info in data_list
            for x1, y1, x2, y2 in (entry['bbox'] for entry in info['instances'])
        ]
        if boxes and look_like_corners(*zip(*boxes)):
            warn(f'{self.ann_file}: boxes {CORNERS}')
        if any('mask' not in entry for entry in instances):
            for transform in self.pipeline.transforms:
                if getattr(transform, 'with_mask', False):
                    transform.with_mask = False
                    print_log(f'{self.ann_file}: not all objects have masks, none is loaded')
        return data_list

    def parse_data_info(self, raw_data_info):
        """One image's dict; federated fields come as ids and as labels (`neg_labels`)."""
        image, annotations = raw_data_info['raw_img_info'], raw_data_info['raw_ann_info']
        height, width = image_size(image, f'image {image["id"]}')
        data_info = dict(
            img_id=image['id'],
            img_path=on_disk(osp.join(self.data_prefix.get('img', ''), self.image_path(image))),
            seg_map_path=None,
            height=height,
            width=width,
            instances=[],
        )
        for key in ('neg_category_ids', 'not_exhaustive_category_ids'):
            if key in image:
                data_info[key] = image[key]
                labels = [self.cat2label.get(i) for i in id_list(image, key)]
                data_info[key.replace('category_ids', 'labels')] = [
                    label for label in labels if label is not None
                ]
        novel = self._metainfo.get('novel')
        for annotation in annotations:
            label = self.cat2label.get(annotation['category_id'])
            if label is None or flag(annotation, 'ignore', name_of(annotation)):
                continue
            if self.base_only and novel and (novel[label] is None or novel[label]):
                continue
            entry = instance(annotation, label, height, width, self.masks_required)
            if entry is None:
                self._left_out.append(annotation)
            else:
                data_info['instances'].append(entry)
        return data_info

    def image_path(self, image):
        """Path of an image below `data_prefix['img']`, by its entry in the annotation file."""
        return text(image, 'file_name', f'image {image["id"]}')

    def category_info(self, categories):
        """`classes`, and `novel` and `synonyms` if the file has them, in the order of ids."""
        return dict(classes=tuple(category['name'] for category in categories))

    def filter_data(self):
        """Apply `filter_cfg`: `min_size` and `filter_empty_gt` in training, and `max_images`.

        Raises:
            ValueError: Nothing is left.
        """
        filter_cfg = {} if self.test_mode else self.filter_cfg or {}
        filter_empty = filter_cfg.get('filter_empty_gt', False)
        min_size = filter_cfg.get('min_size', 0)
        data_list = [
            info
            for info in self.data_list
            if min(info['width'], info['height']) >= min_size
            and not (filter_empty and all(i['ignore_flag'] for i in info['instances']))
        ]
        if not data_list:
            raise ValueError(
                f'{self.ann_file}: none of its {len(self.data_list)} images is left; check '
                f'filter_cfg ({filter_cfg}), base_only ({self.base_only}) and the classes'
            )
        count = min((self.filter_cfg or {}).get('max_images') or len(data_list), len(data_list))
        return [data_list[i * len(data_list) // count] for i in range(count)]

    def _load_categories(self, categories):
        categories = sort_categories(categories)
        info = self.category_info(categories)
        id_of = {category['name']: category['id'] for category in categories}
        classes = tuple(self._metainfo.get('classes', info['classes']))
        unknown = [name for name in classes if name not in id_of]
        if unknown and not (self.absent_classes and len(unknown) < len(classes)):
            raise ValueError(
                f'there is no category named {", ".join(map(repr, unknown[:5]))}'
                f'{" ..." if len(unknown) > 5 else ""}; the {len(id_of)} categories begin with '
                f'{", ".join(map(repr, list(id_of)[:5]))}. Correct metainfo["classes"] or leave '
                'it out'
            )
        # absent classes are neither base nor novel
        absent = dict(classes=unknown, novel=[None] * len(unknown), synonyms=[()] * len(unknown))
        info = {key: (*values, *absent[key]) for key, values in info.items()}
        index = {name: i for i, name in enumerate(info['classes'])}
        self._metainfo['classes'] = classes
        if self.novel is not None:
            info['novel'] = novel_flags(info['classes'], self.novel)
            self._metainfo.pop('novel', None)
        for key in ('novel', 'synonyms'):
            if key in info and key not in self._metainfo:
                self._metainfo[key] = tuple(info[key][index[name]] for name in classes)
        self._metainfo.setdefault('palette', get_palette('random', len(classes)))
        for key in {'novel', 'synonyms', 'palette'} & set(self._metainfo):
            if len(self._metainfo[key]) != len(classes):
                raise ValueError(
                    f'metainfo["{key}"] has {len(self._metainfo[key])} entries, expected one for '
                    f'each of the {len(classes)} classes'
                )
        self.cat2label = {id_of[name]: label for label, name in enumerate(classes) if name in id_of}
        self.cat_ids = list(self.cat2label)
