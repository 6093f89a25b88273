"""Custom datasets of images with PNG label maps."""

import os.path as osp

import cv2
import numpy as np
from mmdet.datasets import BaseDetDataset
from mmdet.registry import DATASETS
from mmdet.visualization import get_palette
from PIL import Image
from pycocotools import mask as mask_utils

from ..fileio import read_text
from ..validation import require_choice
from ..vocabulary import novel_flags
from ..vocabulary.names import read_lines, read_structured_names
from .images import IMG_SUFFIXES, CheckedImages

_MODES = ('1', 'L', 'P', 'I', 'I;16', 'I;16B')  # Pillow's modes of one integer a pixel


@DATASETS.register_module()
class LabelMapDataset(CheckedImages, BaseDetDataset):
    """Images with label maps: PNG files of one channel whose values are class numbers.

    The label map of `images/park/1.jpg` is `labels/park/1.png`, with `data_prefix=dict(img=
    'images', seg='labels')`. Label maps are read with each item, so `filter_cfg` has no effect;
    images without objects are kept.

    Args:
        names_file (str): Text file below `data_root` whose line i, from 0, names the value i (an
            empty line is no class); or a file for `read_structured_names`. Without it value i is
            `metainfo['classes'][i]`.
        regions (str): What an object is. `'components'`: each 8-connected component of a class.
            `'classes'`: all pixels of a class. `'instances'`: all pixels of a value, of the class
            `value // 1000`, as in Cityscapes.
        ignore_index (int | Sequence[int]): Classes that are no object, such as 255 for void pixels
            and 0 for a background.
        novel (Sequence[str], optional): Names of the novel classes; all others are base. By default
            there is no such split.
        base_only (bool): Whether objects of novel classes are left out.
        img_suffix (str | Sequence[str]): Suffixes of image names such as `'_leftImg8bit.png'`,
            replaced by `seg_map_suffix` (`'.png'`) in the names of label maps.
        **kwargs: As MMDetection's `BaseDetDataset`. `ann_file` is an optional text file below
            `data_root` with one image a line, relative to `data_prefix['img']`, with or without
            suffix; by default all images are taken.

    Raises:
        FileNotFoundError: If the names, a folder, a listed image or a label map is missing.
        ValueError: If there is no image, names are missing or occur twice, or a label map has
            several channels or a value without a name.
    """

    REMEDY = 'Set data_root, data_prefix and names_file of your config to where your data is.'

    def __init__(
        self,
        *args,
        names_file='',
        regions='components',
        ignore_index=255,
        novel=None,
        base_only=False,
        img_suffix=IMG_SUFFIXES,
        **kwargs,
    ):
        require_choice(('components', 'classes', 'instances'), regions=regions)
        self.names_file = names_file
        self.regions = regions
        self.ignore_index = {ignore_index} if isinstance(ignore_index, int) else set(ignore_index)
        self.novel = novel
        self.base_only = base_only
        self.img_suffix = (img_suffix,) if isinstance(img_suffix, str) else tuple(img_suffix)
        super().__init__(*args, **kwargs)

    def load_data_list(self):
        """Dicts of images with the paths of their label maps; fills `metainfo`."""
        names_file = self.names_file and osp.join(self.data_root or '', self.names_file)
        images, labels = (self.data_prefix.get(key) or '.' for key in ('img', 'seg'))
        self.require_files(names_file, self.ann_file, images, labels)
        self._load_classes(names_file)
        stems = {name: self._stem(name) for name in self.scan(images)}
        names = self._read_list(stems) if self.ann_file else list(stems)
        if not names:
            raise ValueError(
                f'no image to read: {self.ann_file or images} has no name that ends with '
                f'{", ".join(self.img_suffix)}. {self.REMEDY}'
            )
        data_list = [
            dict(
                img_id=name,
                img_path=osp.join(images, name),
                seg_map_path=osp.join(labels, stems[name] + self.seg_map_suffix),
                instances=[],
            )
            for name in names
        ]
        missing = [info for info in data_list if not osp.isfile(info['seg_map_path'])]
        if missing:
            raise FileNotFoundError(
                f'{len(missing)} of {len(data_list)} images have no label map, such as '
                f'{missing[0]["seg_map_path"]} of {missing[0]["img_path"]}. Add them, list the '
                'images that have one in ann_file, or correct img_suffix and seg_map_suffix'
            )
        return data_list

    def get_data_info(self, idx):
        """One image's dict with `height`, `width` and `instances` of its label map."""
        info = super().get_data_info(idx)
        path = info['seg_map_path']
        values = read_label_map(path)
        info.update(height=values.shape[0], width=values.shape[1])
        for value in np.unique(values).tolist():
            number = value // 1000 if self.regions == 'instances' else value
            if number in self.ignore_index:
                continue
            if number not in self.names:
                raise ValueError(
                    f'{path} has pixels of class {number}, which has no name; name it in '
                    f'{self.names_file or "metainfo.classes"}, or add it to ignore_index '
                    f'({sorted(self.ignore_index)})'
                )
            label = self.labels.get(number)
            if label is not None:
                info['instances'] += self._objects(values == value, label)
        return info

    def _load_classes(self, names_file):
        """Set `names` (number to name), `labels` (number to label) and `metainfo`."""
        chosen = self._metainfo.get('classes')
        if not names_file and not chosen:
            raise ValueError(
                'LabelMapDataset needs the names of the values: set names_file or '
                'metainfo=dict(classes=...)'
            )
        self.names = dict(enumerate(_read_names(names_file) if names_file else chosen))
        number_of = {n: i for i, n in self.names.items() if n and i not in self.ignore_index}
        classes = tuple(chosen if chosen and names_file else number_of)
        unknown = [name for name in classes if name not in number_of]
        if unknown:
            raise ValueError(
                f'metainfo["classes"] has {", ".join(map(repr, unknown[:5]))}, which {names_file} '
                'does not name or ignore_index leaves out'
            )
        self._metainfo['classes'] = classes
        self._metainfo.setdefault('palette', get_palette('random', len(classes)))
        left_out = ()
        if self.novel is not None:
            self._metainfo['novel'] = flags = novel_flags(classes, self.novel)
            left_out = [name for name, flag in zip(classes, flags) if flag and self.base_only]
        self.labels = {number_of[n]: i for i, n in enumerate(classes) if n not in left_out}

    def _stem(self, name):
        suffix = max((s for s in self.img_suffix if name.lower().endswith(s.lower())), key=len)
        return name[: len(name) - len(suffix)]

    def _read_list(self, stems):
        lines = read_lines(self.ann_file)
        by_stem = {stem: name for name, stem in stems.items()}
        missing = [line for line in lines if line not in stems and line not in by_stem]
        if missing:
            raise FileNotFoundError(
                f'{", ".join(missing[:5])}, listed in {self.ann_file}, is not in '
                f'{self.data_prefix.get("img")}. {self.REMEDY}'
            )
        return [line if line in stems else by_stem[line] for line in lines]

    def _objects(self, mask, label):
        masks = mask[None]
        if self.regions == 'components':
            count, components = cv2.connectedComponents(mask.astype(np.uint8))
            masks = (components == i for i in range(1, count))
        for mask in masks:
            rle = mask_utils.encode(np.asfortranarray(mask, np.uint8))
            left, top, width, height = mask_utils.toBbox(rle).tolist()
            yield dict(
                bbox=[left, top, left + width, top + height],
                bbox_label=label,
                ignore_flag=0,
                mask=dict(size=rle['size'], counts=rle['counts'].decode('ascii')),
            )


def read_label_map(path):
    """The values (H, W) int32 of a PNG file of one channel, palette indices included.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is truncated, no image, or has several channels.
    """
    try:
        with Image.open(path) as image:
            mode, values = image.mode, np.asarray(image)
    except FileNotFoundError:
        raise FileNotFoundError(f'The label map {path} is missing; put it back.') from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(
            f'The label map {path} is truncated or no image ({error}); get or write it again.'
        ) from None
    if mode not in _MODES:
        raise ValueError(
            f'The label map {path} has colors (mode {mode}), expected one channel of class '
            'numbers. Convert it: each color to its number.'
        )
    return values.astype(np.int32)


def _read_names(path):
    names = read_structured_names(path)
    if names is None:
        names = [line.strip() for line in read_text(path).removesuffix('\n').split('\n')]
    classes = list(filter(None, names))
    if not classes or len(set(classes)) < len(classes):
        problem = 'has a name twice' if classes else 'has no name'
        raise ValueError(f'{path} {problem}; give each value that is a class a name of its own')
    return names
