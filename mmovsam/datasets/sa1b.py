"""SA-1B: images with masks without classes."""

import os
import os.path as osp

from mmdet.datasets import BaseDetDataset
from mmdet.registry import DATASETS

from ..fileio import read_json
from ..prompts.boxes import check_units
from ..vocabulary.names import read_lines
from .annotations import entries, field, image_size, instance
from .files import on_disk
from .images import CheckedImages


@DATASETS.register_module()
class SA1BDataset(CheckedImages, BaseDetDataset):
    """Folders of `sa_*.jpg`, each with its annotations in `sa_*.json` beside it.

    Every object has label 0. Annotations are read with each item, since SA-1B has eleven million
    files.

    Args:
        folders (Sequence[str]): Folders of images below `data_root`.
        ann_file (str): Optional text file below `data_root` with one image a line, relative to
            any of the folders; by default all images, sorted by name.
        with_annotations (bool): Whether the JSON files are read; distillation needs images only.
        **kwargs: As MMEngine's `BaseDataset`.

    Raises:
        FileNotFoundError: If a folder, the list or a listed image is missing.
        ValueError: If the folders hold no image, or a JSON file is truncated or lacks a field.
    """

    METAINFO = dict(classes=('object',), novel=(False,), palette=[(220, 20, 60)])
    REMEDY = (
        'SA-1B: get its archives from https://ai.meta.com/datasets/segment-anything-downloads, '
        'unpack them and set data_root and folders of your config to where the sa_*.jpg are.'
    )

    def __init__(self, ann_file='', folders=('.',), with_annotations=True, **kwargs):
        self.folders = (folders,) if isinstance(folders, str) else tuple(folders)
        self.with_annotations = with_annotations
        super().__init__(ann_file=ann_file, **kwargs)

    def load_data_list(self):
        """Dicts of `img_path` and `img_id`, SA-1B's number or else the name."""
        folders = [osp.normpath(osp.join(self.data_root or '', folder)) for folder in self.folders]
        self.require_files(*folders, self.ann_file)
        if self.ann_file:
            paths = [self._find(name, folders) for name in read_lines(self.ann_file)]
        else:
            paths = [
                osp.join(folder, name)
                for folder in folders
                for name in sorted(os.listdir(folder))
                if name.startswith('sa_') and name.endswith('.jpg')
            ]
        if not paths:
            raise ValueError(f'no sa_*.jpg in {self.ann_file or ", ".join(folders)}. {self.REMEDY}')
        data_list = []
        for path in paths:
            name = osp.splitext(osp.basename(path))[0]
            number = name.rpartition('_')[2]
            img_id = int(number) if number.isdecimal() else name
            data_list.append(dict(img_path=path, img_id=img_id, seg_map_path=None, instances=[]))
        return data_list

    def get_data_info(self, idx):
        """One image's dict and, with annotations, its `height`, `width` and `instances`."""
        info = super().get_data_info(idx)
        if not self.with_annotations:
            return info
        path = osp.splitext(info['img_path'])[0] + '.json'
        content = read_json(path, self.REMEDY)
        try:
            height, width = image_size(field(content, 'image', 'the file'), '"image"')
            (annotations,) = entries(content, 'annotations')
            instances = [instance(annotation, 0, height, width) for annotation in annotations]
            check_units([annotation['bbox'] for annotation in annotations])
        except ValueError as error:
            raise ValueError(f'{path}: {error}. {self.REMEDY}') from None
        info.update(height=height, width=width, instances=list(filter(None, instances)))
        return info

    def _find(self, name, folders):
        paths = (on_disk(osp.join(folder, name)) for folder in folders)
        path = next(filter(osp.isfile, paths), None)
        if path is None:
            raise FileNotFoundError(
                f'{name}, listed in {self.ann_file}, is in none of {", ".join(folders)}. '
                f'{self.REMEDY}'
            )
        return path
