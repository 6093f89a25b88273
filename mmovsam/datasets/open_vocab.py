"""What the datasets with named categories, base and novel, have in common."""

import logging
import math
import os.path as osp

from mmdet.datasets import CocoDataset
from mmdet.visualization import get_palette
from mmengine.logging import print_log

from .files import check_files, read_json


class OpenVocabDataset(CocoDataset):
    """Annotations in COCO's JSON layout with base and novel categories.

    `metainfo` has `classes` (K names, base and novel, label i is `classes[i]`), `novel` (K
    bools), `synonyms` (K tuples of names, where the file has them) and `palette`.

    Args:
        base_only (bool): Whether annotations of novel categories are left out; labels stay indices
            into all K classes.
        class_agnostic (bool): Whether all categories become one class, 'object', as for a detector
            that proposes without naming.
        masks_required (bool): Whether an annotation without `segmentation` is an error. Switch it
            off for data that has boxes only.
        **kwargs: As MMDetection's `CocoDataset`.

    Annotations without area inside their image (empty or inverted boxes, boxes outside of it, boxes
    narrower than a pixel) are left out of training and tests alike; the log says how many.

    Raises:
        FileNotFoundError: If annotation file or image folder are missing; one message names both.
        ValueError: If the annotation file is truncated, lacks a field, has a box that is not four
            finite numbers, or names an unknown category or image.
    """

    METAINFO = {}
    REMEDY = 'Set data_root, ann_file and data_prefix of your config to where your data is.'

    def __init__(self, *args, base_only=False, class_agnostic=False, masks_required=True, **kwargs):
        self.base_only = base_only
        self.class_agnostic = class_agnostic
        self.masks_required = masks_required
        super().__init__(*args, **kwargs)

    @classmethod
    def _load_metainfo(cls, metainfo=None):
        """What describes the classes of `METAINFO` does not describe those that a user gives."""
        merged = super()._load_metainfo(metainfo)
        if metainfo and 'classes' in metainfo:
            for key in {'novel', 'synonyms', 'palette'} - set(metainfo):
                merged.pop(key, None)
        return merged

    def load_data_list(self):
        """Loads the annotation file and fills `metainfo` with what it says of the categories.

        Returns:
            list[dict]: One dict an image, in order of image id, as MMDetection's transforms read
            it.
        """
        check_files(
            [(path, self.REMEDY) for path in (self.ann_file, self.data_prefix.get('img')) if path],
            purpose=type(self).__name__,
        )
        content = read_json(self.ann_file, self.REMEDY)
        lists = [
            self._field(content, key, 'the file') for key in ('images', 'annotations', 'categories')
        ]
        images, annotations, categories = lists
        self._load_categories(categories)
        known = {category['id'] for category in categories}
        by_image = {self._field(image, 'id', 'an image'): [] for image in images}
        for annotation in annotations:
            where = f'annotation {annotation.get("id", "without id")}'
            image_id = self._field(annotation, 'image_id', where)
            category_id = self._field(annotation, 'category_id', where)
            if category_id not in known:
                raise ValueError(
                    f'{self.ann_file}: {where} has category_id {category_id!r}, which is none '
                    f"of the file's {len(known)} categories; correct it or add the category"
                )
            if image_id not in by_image:
                raise ValueError(
                    f'{self.ann_file}: {where} has image_id {image_id!r}, which is none of the '
                    f"file's {len(by_image)} images; correct the annotation or add the image"
                )
            by_image[image_id].append(annotation)
        self._left_out = 0
        data_list = [
            self.parse_data_info(dict(raw_img_info=image, raw_ann_info=by_image[image['id']]))
            for image in sorted(images, key=lambda image: image['id'])
        ]
        if self._left_out:
            print_log(
                f'{self.ann_file}: {self._left_out} of {len(annotations)} annotations are left '
                'out, having no area inside their image',
                logger='current',
                level=logging.WARNING,
            )
        folders = sorted({osp.dirname(info['img_path']) for info in data_list} - {''})
        check_files([(folder, self.REMEDY) for folder in folders], purpose=type(self).__name__)
        if self.class_agnostic:
            for info in data_list:
                for instance in info['instances']:
                    instance['bbox_label'] = 0
            self._metainfo = dict(classes=('object',), novel=(False,), palette=[(220, 20, 60)])
        return data_list

    def parse_data_info(self, raw_data_info):
        """Converts one image's entry and its annotations.

        Args:
            raw_data_info (dict): `raw_img_info` and `raw_ann_info` as in the file.

        Returns:
            dict: `img_path`, `img_id`, `height`, `width`, `instances` and the federated
                fields.
        """
        image, annotations = raw_data_info['raw_img_info'], raw_data_info['raw_ann_info']
        where = f'image {image["id"]}'
        height, width = self._field(image, 'height', where), self._field(image, 'width', where)
        data_info = dict(
            img_id=image['id'],
            img_path=osp.join(self.data_prefix.get('img', ''), self.image_path(image)),
            seg_map_path=None,
            height=height,
            width=width,
            instances=[],
        )
        for key in ('neg_category_ids', 'not_exhaustive_category_ids'):
            if key in image:
                data_info[key] = image[key]
        if self.return_classes:
            data_info.update(
                text=self._metainfo['classes'],
                caption_prompt=self.caption_prompt,
                custom_entities=True,
            )
        novel = self._metainfo['novel']
        for annotation in annotations:
            label = self.cat2label.get(annotation['category_id'])
            if label is None or annotation.get('ignore') or (self.base_only and novel[label]):
                continue
            instance = self._instance(annotation, label, height, width)
            if instance is None:
                self._left_out += 1
            else:
                data_info['instances'].append(instance)
        return data_info

    def image_path(self, image):
        """Where an image lies below `data_prefix['img']`.

        Args:
            image (dict): The image's entry in the annotation file.

        Returns:
            str: Relative path.
        """
        return self._field(image, 'file_name', f'image {image["id"]}')

    def category_info(self, categories):
        """What `metainfo` says of the categories of a file.

        Args:
            categories (list[dict]): Entries of the annotation file in order of their id.

        Returns:
            dict: `classes` and `novel`, and `synonyms` where the file has them.
        """
        raise NotImplementedError

    def filter_data(self):
        """Drops small images and, with `filter_empty_gt`, those that have nothing to learn from.

        Returns:
            list[dict]: What is left of `data_list`; all of it in test mode.

        Raises:
            ValueError: If nothing is left.
        """
        filter_cfg = {} if self.test_mode else self.filter_cfg or {}
        filter_empty = filter_cfg.get('filter_empty_gt', False)
        min_size = filter_cfg.get('min_size', 0)
        kept = [
            info
            for info in self.data_list
            if min(info['width'], info['height']) >= min_size
            and not (filter_empty and all(i['ignore_flag'] for i in info['instances']))
        ]
        if not kept:
            raise ValueError(
                f'{self.ann_file}: none of its {len(self.data_list)} images is left; check '
                f'filter_cfg ({filter_cfg}), base_only ({self.base_only}) and the classes'
            )
        return kept

    def _load_categories(self, categories):
        for category in categories:
            self._field(category, 'id', f'category {category.get("name", "without name")!r}')
            self._field(category, 'name', f'category {category["id"]}')
        categories = sorted(categories, key=lambda category: category['id'])
        info = self.category_info(categories)
        in_file = {category['name']: category['id'] for category in categories}
        classes = tuple(self._metainfo.get('classes', info['classes']))
        unknown = [name for name in classes if name not in in_file]
        if unknown:
            raise ValueError(
                f'{self.ann_file} has no category named {", ".join(map(repr, unknown[:5]))}'
                f'{" ..." if len(unknown) > 5 else ""}; its {len(in_file)} categories begin with '
                f'{", ".join(map(repr, list(in_file)[:5]))}. Correct metainfo["classes"] or leave '
                'it out'
            )
        index = {name: i for i, name in enumerate(info['classes'])}
        self._metainfo['classes'] = classes
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
        self.cat_ids = [in_file[name] for name in classes]
        self.cat2label = {category_id: label for label, category_id in enumerate(self.cat_ids)}

    def _instance(self, annotation, label, height, width):
        """One annotation as MMDetection's transforms read it; None if it is not in the image."""
        where = f'annotation {annotation.get("id", "without id")}'
        left, top, box_width, box_height = self._box(annotation, where)
        visible_width = min(left + box_width, width) - max(left, 0)
        visible_height = min(top + box_height, height) - max(top, 0)
        if min(visible_width, visible_height) <= 0 or min(box_width, box_height) < 1:
            return None
        if annotation.get('area', 1) <= 0:
            return None
        instance = dict(
            bbox=[left, top, left + box_width, top + box_height],
            bbox_label=label,
            ignore_flag=int(bool(annotation.get('iscrowd'))),
        )
        if annotation.get('segmentation'):
            instance['mask'] = annotation['segmentation']
        elif self.masks_required:
            raise ValueError(
                f'{self.ann_file}: {where} has no "segmentation"; add it, or set '
                'masks_required=False and load boxes only'
            )
        return instance

    def _box(self, annotation, where):
        box = self._field(annotation, 'bbox', where)
        try:
            good = len(box) == 4 and all(map(math.isfinite, box))
        except (TypeError, OverflowError):
            good = False
        if not good:
            raise ValueError(
                f'{self.ann_file}: {where} has bbox {box!r}, expected finite numbers [left, top, '
                'width, height] in pixels'
            )
        return box

    def _field(self, entry, key, where):
        try:
            return entry[key]
        except (KeyError, TypeError):
            raise ValueError(
                f'{self.ann_file}: {where} has no "{key}", which this format requires. '
                f'{self.REMEDY}'
            ) from None
