"""Images with labels for the whole of them: folders by class, or a list."""

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
    """Images whose labels hold for the whole of them, such as ImageNet's.

    The whole image is the region: each label is an instance whose box is the image, without a
    mask. `LoadAnnotations(with_bbox=True)` reads it; a pipeline had better not crop, since a crop
    may lose what the label means. Sizes are those of the files, read when an item is.

    Without `ann_file` the images of each folder below `data_prefix['img']` are of the class that
    the folder names, those of its subfolders too. A folder's name is a class's own, one of its
    synonyms, or ImageNet's id of it (`n01440764`); `_` stands for a space.

    Args:
        classes (str | Sequence[str], optional): What classes there are: `'imagenet1k'`,
            `'imagenet22k'`, a text file (each as `Vocabulary.from_source` takes it) or a list of
            names. By default those that folders or list name, in the order of the alphabet.
        img_suffix (str | Sequence[str]): Ends of the images' names in folders.
        **kwargs: As MMDetection's `BaseDetDataset`. `ann_file` is an optional list below
            `data_root`: a line has an image's path, relative to `data_prefix['img']`, and after a
            tab its label, more of them after more tabs. Faster than folders where there are
            millions of images.

    Attributes:
        class_counts (numpy.ndarray): (K,) int64, how many images have each label.

    Raises:
        FileNotFoundError: If the folder, the list or the file of classes is missing; for a listed
            image when it is read.
        ValueError: If there is no image, a folder or label is no class or could be several, or a
            line of the list has no label.
    """

    def __init__(self, *args, classes=None, img_suffix=IMG_SUFFIXES, **kwargs):
        self.classes = classes
        self.img_suffix = (img_suffix,) if isinstance(img_suffix, str) else tuple(img_suffix)
        super().__init__(*args, **kwargs)

    def load_data_list(self):
        """Lists `name` (below the image folder) and `labels` of each image; fills `metainfo`."""
        self.require_files(self._folder, self.ann_file)
        named = self._listed() if self.ann_file else self._in_folders()
        if not named:
            suffixes = ', '.join(self.img_suffix)
            problem = f'{self._folder} has no folder with images whose names end with {suffixes}'
            problem = f'no image: {self.ann_file} is empty' if self.ann_file else problem
            raise ValueError(f'{problem}. {self.REMEDY}')
        label_of = self._load_classes(sorted({name for _, names in named for name in names}))
        data_list = [
            dict(name=path, labels=tuple(dict.fromkeys(label_of[name] for name in names)))
            for path, names in named
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
        """The whole image is an instance of each label."""
        bbox = [0, 0, data_info['width'], data_info['height']]
        instances = [
            dict(bbox=bbox, bbox_label=label, ignore_flag=0) for label in data_info['true_labels']
        ]
        return dict(data_info, instances=instances)

    def filter_data(self):
        """All images: sizes are not known before one is read."""
        return self.data_list

    def get_cat_ids(self, idx):
        """Labels of one image."""
        return list(self.get_data_info(idx)['true_labels'])

    @property
    def _folder(self):
        return self.data_prefix.get('img') or self.data_root or '.'

    def _in_folders(self):
        """Pairs of a path and the name of its class, in order of the paths."""
        pairs = [(path, (path.split(osp.sep)[0],)) for path in self.scan(self._folder)]
        loose = [path for path, _ in pairs if osp.sep not in path]
        if loose:
            raise ValueError(
                f'{osp.join(self._folder, loose[0])} lies in no folder of a class; put it into '
                'one, or give a list of paths and labels as ann_file'
            )
        return pairs

    def _listed(self):
        pairs = []
        for number, line in enumerate(read_lines(self.ann_file), 1):
            path, *names = (part.strip() for part in line.split('\t'))
            if not path or not names or not all(names):
                raise ValueError(
                    f'{self.ann_file}, entry {number}: {line!r} is not an image, a tab and a '
                    'label, or several of them with a tab before each'
                )
            pairs.append((path, tuple(names)))
        return pairs

    def _load_classes(self, names):
        """Fills `metainfo`; returns the label of each of the names."""
        if self.classes is None:
            metainfo = dict(classes=self._metainfo.get('classes', tuple(names)))
        elif isinstance(self.classes, str) and self.classes in WORDS:
            metainfo = {**read_metainfo(self.classes)}
        else:
            vocabulary = Vocabulary.from_source(self.classes)
            metainfo = dict(classes=vocabulary.names, synonyms=vocabulary.prompt_names)
        classes = metainfo['classes'] = tuple(metainfo['classes'])
        label_of = dict(zip(metainfo.pop('synsets', ()), range(len(classes))))
        by_name = {}
        for label, name in enumerate(classes):
            label_of.setdefault(name, label)
            synonyms = metainfo['synonyms'][label] if metainfo.get('synonyms') else ()
            for part in {*split_name(name), *synonyms}:
                by_name.setdefault(part, []).append(label)
        found = {}
        for name in names:
            # by itself, or by the first of the names in it
            labels = [label_of[name]] if name in label_of else by_name.get(split_name(name)[0], [])
            if len(labels) != 1:
                several = ' or '.join(repr(classes[label]) for label in labels)
                raise ValueError(
                    f'{self.ann_file or self._folder} has {name!r}, which '
                    + (f'could be {several}: write which' if labels else 'is no class')
                    + f'; the {len(classes)} classes begin with '
                    + ', '.join(map(repr, classes[:5]))
                )
            found[name] = labels[0]
        self._metainfo.update(metainfo)
        self._metainfo.setdefault('palette', get_palette('random', len(classes)))
        return found
