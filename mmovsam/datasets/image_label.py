"""Images with image-level labels: folders by class, or a list."""

import os.path as osp

import numpy as np
from mmdet.datasets import BaseDetDataset
from mmdet.registry import DATASETS
from mmdet.visualization import get_palette

from ..vocabulary import Vocabulary, split_name
from ..vocabulary.names import read_lines
from ..vocabulary.sources import WORDS, read_metainfo
from .images import IMG_SUFFIXES, CheckedImages


@DATASETS.register_module()
class ImageLabelDataset(CheckedImages, BaseDetDataset):
    """Images with image-level labels, such as ImageNet's.

    Each label is an instance whose box is the image, without a mask, for
    `LoadAnnotations(with_bbox=True)`. A pipeline should not crop, since a crop may not show what
    the label means. Sizes are read from the files with each item.

    Without `ann_file` each folder below `data_prefix['img']` has the images of one class, in
    subfolders too. A folder is named after the class, one of its synonyms, or ImageNet's id
    (`n01440764`); `_` stands for a space.

    Args:
        classes (str | Sequence[str], optional): `'imagenet1k'`, `'imagenet22k'`, a text file (each
            as for `Vocabulary.from_source`) or a list of names. By default those of the folders or
            the list, in alphabetical order.
        img_suffix (str | Sequence[str]): Suffixes of image files in folders.
        **kwargs: As MMDetection's `BaseDetDataset`. `ann_file` is an optional list below
            `data_root`: a line has an image's path, relative to `data_prefix['img']`, and its
            labels, each after a tab. It is faster than folders for millions of images.

    Attributes:
        class_counts (numpy.ndarray): (K,) int64, number of images with each label.

    Raises:
        FileNotFoundError: If the folder, the list or the file of classes is missing; for a listed
            image when it is read.
        ValueError: If there is no image, a folder or label is no class or ambiguous, or a line of
            the list has no label.
    """

    def __init__(self, *args, classes=None, img_suffix=IMG_SUFFIXES, **kwargs):
        self.classes = classes
        self.img_suffix = (img_suffix,) if isinstance(img_suffix, str) else tuple(img_suffix)
        super().__init__(*args, **kwargs)

    def load_data_list(self):
        """Dicts of `name` (below the image folder) and `labels`; fills `metainfo`."""
        self.require_files(self._folder, self.ann_file)
        images = self._read_list() if self.ann_file else self._scan_folders()
        if not images:
            suffixes = ', '.join(self.img_suffix)
            problem = f'{self._folder} has no folder with images whose names end with {suffixes}'
            problem = f'no image: {self.ann_file} is empty' if self.ann_file else problem
            raise ValueError(f'{problem}. {self.REMEDY}')
        label_of = self._load_classes(sorted({name for _, names in images for name in names}))
        data_list = [
            dict(name=path, labels=tuple(dict.fromkeys(label_of[name] for name in names)))
            for path, names in images
        ]
        labels = [label for info in data_list for label in info['labels']]
        self.class_counts = np.bincount(labels, minlength=len(self._metainfo['classes']))
        return data_list

    def get_data_info(self, idx):
        """`img_path`, `img_id` (path below the image folder) and `true_labels` of one image."""
        info = super().get_data_info(idx)
        return dict(
            sample_idx=info['sample_idx'],
            img_path=osp.join(self._folder, info['name']),
            img_id=info['name'],
            seg_map_path=None,
            true_labels=info['labels'],
        )

    def complete(self, data_info):
        """Add an instance for each label, whose box is the image."""
        bbox = [0, 0, data_info['width'], data_info['height']]
        instances = [
            dict(bbox=bbox, bbox_label=label, ignore_flag=0) for label in data_info['true_labels']
        ]
        return dict(data_info, instances=instances)

    def filter_data(self):
        """All images: sizes are unknown until they are read."""
        return self.data_list

    def get_cat_ids(self, idx):
        """Labels of one image."""
        return list(self.get_data_info(idx)['true_labels'])

    @property
    def _folder(self):
        return self.data_prefix.get('img') or self.data_root or '.'

    def _scan_folders(self):
        """Pairs of a path and a tuple with the name of its class, sorted by path."""
        paths = self.scan(self._folder)
        unlabelled = [path for path in paths if osp.sep not in path]
        if unlabelled:
            raise ValueError(
                f'{osp.join(self._folder, unlabelled[0])} lies in no folder of a class; put it '
                'into one, or give a list of paths and labels as ann_file'
            )
        return [(path, (path.split(osp.sep)[0],)) for path in paths]

    def _read_list(self):
        """Pairs of a path and the names of its classes."""
        pairs = []
        for number, line in enumerate(read_lines(self.ann_file), 1):
            path, *names = map(str.strip, line.split('\t'))
            if not path or not names or not all(names):
                raise ValueError(
                    f'{self.ann_file}, entry {number}: {line!r} is not an image, a tab and a '
                    'label, or several of them with a tab before each'
                )
            pairs.append((path, tuple(names)))
        return pairs

    def _load_classes(self, names):
        """Fill `metainfo`; returns a dict of the label of each name."""
        if self.classes is None:
            metainfo = dict(classes=self._metainfo.get('classes', tuple(names)))
        elif isinstance(self.classes, str) and self.classes in WORDS:
            metainfo = {**read_metainfo(self.classes)}
        else:
            vocabulary = Vocabulary.from_source(self.classes)
            metainfo = dict(classes=vocabulary.names, synonyms=vocabulary.prompt_names)
        classes = metainfo['classes'] = tuple(metainfo['classes'])
        by_class = dict(zip(metainfo.pop('synsets', ()), range(len(classes))))
        by_synonym = {}
        for label, name in enumerate(classes):
            by_class.setdefault(name, label)
            synonyms = metainfo['synonyms'][label] if metainfo.get('synonyms') else ()
            for synonym in {*split_name(name), *synonyms}:
                by_synonym.setdefault(synonym, []).append(label)
        label_of = {}
        for name in names:
            labels = [by_class[name]] if name in by_class else by_synonym.get(split_name(name)[0])
            if not labels or len(labels) > 1:
                candidates = ' or '.join(repr(classes[label]) for label in labels or ())
                raise ValueError(
                    f'{self.ann_file or self._folder} has {name!r}, which '
                    + (f'could be {candidates}: write which' if labels else 'is no class')
                    + f'; the {len(classes)} classes begin with '
                    + ', '.join(map(repr, classes[:5]))
                )
            label_of[name] = labels[0]
        self._metainfo.update(metainfo)
        self._metainfo.setdefault('palette', get_palette('random', len(classes)))
        return label_of
